// What another process may have left of an idempotency key, from arbitrary bytes: no crash; what is
// read is read again as it was; and a store that finds it answers with it, or with nothing.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "billing/hash.h"
#include "billing/replay_end.h"
#include "billing/replay_store.h"
#include "testing/temp_dir.h"

using namespace tradewind::billing;

namespace {

const ReplayKey kKey = {"o", "k", "n"};

struct World {
  tradewind::testing::TempDir home;
  std::filesystem::path file = home.path() / "replies-handover" / Sha256Hex("o\x1Fk\x1Fn");
  std::unique_ptr<ReplayStore> store =
      ReplayStore::Open(home.path() / "replies.db", [](auto) { return false; }).value();

  World() { std::filesystem::create_directory(file.parent_path()); }
  ReplayClaim Begin() { return store->Begin(kKey, "h", {7, 9}, {1'764'072'000, {}}).value(); }
  ReplayClaim Find(std::string_view text) {
    std::ofstream(file, std::ios::binary) << text;
    ReplayClaim claim = Begin();
    TW_CHECK(!std::filesystem::exists(file));
    return claim;
  }
};

using Kind = ReplayClaim::Kind;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World world;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::optional<ReplayEnd> end = DecodeEnd(text);
  if (end.has_value()) {
    TW_CHECK(DecodeEnd(EncodeEnd(end->key, end->answer.has_value() ? &*end->answer : nullptr)) ==
             end);
  }

  TW_CHECK(world.Begin().kind == Kind::kNew);
  world.store->Leave(kKey);
  TW_CHECK(world.Find(text).kind == Kind::kCut);  // without its hash it is not whole
  const ReplayClaim claim = world.Find(text + Sha256Hex(text));
  if (!end.has_value() || end->key != kKey) {
    TW_CHECK(claim.kind == Kind::kCut);
  } else if (end->answer.has_value()) {
    TW_CHECK(claim.kind == Kind::kDone && claim.answer == *end->answer);
  } else {
    TW_CHECK(claim.kind == Kind::kNew);
  }
  TW_CHECK(world.store->Forget(kKey).has_value());
  TW_CHECK(world.store->count() == 0);
  return 0;
}
