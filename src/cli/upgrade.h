// An upgrade in place as the old server sees it: what it does at each word of its successor
// (hand_over.h).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "billing/books.h"
#include "cli/hand_over.h"
#include "cli/home.h"
#include "http/server.h"
#include "identity/store.h"

namespace tradewind::cli {

class Upgrade {
 public:
  struct Files {
    int listener, lock;
  };
  // `record` is what server.json says now. The others must outlive this.
  Upgrade(std::filesystem::path home, ServerRecord record, Files files, http::Server& server,
          identity::Store& store, billing::Books& books)
      : home_(std::move(home)),
        record_(std::move(record)),
        files_(files),
        server_(server),
        store_(store),
        books_(books) {}

  bool is_under_way() const { return successor_.has_value(); }
  // Starts a successor, unless one is on its way. A failure is logged and noted in server.json.
  void Begin();
  // Looks what the successor says, without waiting, and does what follows. True: it serves, and
  // nothing in the data folder is ours any more. When it has failed all is as before.
  bool Advance();

 private:
  void TakeBack();
  void GiveUp(const std::string& why);

  const std::filesystem::path home_;
  ServerRecord record_;
  const Files files_;
  http::Server& server_;
  identity::Store& store_;
  billing::Books& books_;
  std::optional<Successor> successor_;
  bool has_given_ = false;  // to the successor: the data folder
};

}  // namespace tradewind::cli
