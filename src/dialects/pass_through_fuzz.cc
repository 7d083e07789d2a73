// What passes through: any bytes as a request to edit, a chunk, a whole answer and an error. Edited
// text must be JSON again, and unedited text the bytes it was.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <boost/json/parse.hpp>

#include "base/check.h"
#include "dialects/json_text.h"
#include "dialects/openai_facts.h"
#include "dialects/wire_answer.h"

using namespace tradewind;
using namespace tradewind::dialects;

namespace {

void EditRequest(const std::string& body) {
  Result<JsonText> text = JsonText::Parse(body);
  if (!text.has_value()) {
    return;
  }
  static_cast<void>(ReadOpenAiFacts(*text));
  const std::vector<std::string_view> names = text->names();
  const std::string first = names.empty() ? "x" : std::string(names.front());
  text->Set("model", "\"m\"");
  text->Rename(first, "renamed");
  text->Remove("stream");
  boost::json::parse_options options;
  options.max_depth = 128;
  boost::system::error_code error;
  boost::json::parse(text->Text(), error, {}, options);
  // Boost.JSON is stricter about surrogates than simdjson; structure is what an edit could break.
  TW_CHECK(!error || error == boost::json::error::illegal_leading_surrogate ||
           error == boost::json::error::illegal_trailing_surrogate ||
           error == boost::json::error::expected_utf16_escape ||
           error == boost::json::error::exponent_overflow);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  EditRequest(text);
  if (ReadWireChunk(text).has_value()) {
    TW_CHECK(ReadWireChunk(WithField(text, "tradewind", "{}")).has_value());
  }
  for (const WireKind kind : {WireKind::kChat, WireKind::kCompletion, WireKind::kEmbeddings}) {
    const Result<WireWhole> whole = ReadWireWhole(text, kind);
    if (whole.has_value() && !whole->error.has_value()) {
      for (const std::string& chunk : ChunksOf(whole->body)) {
        TW_CHECK(ReadWireChunk(chunk).has_value());
      }
    }
  }
  static_cast<void>(ReadWireError(400, text));
  return 0;
}
