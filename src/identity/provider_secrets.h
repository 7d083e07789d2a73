// Keys of inference providers, in memory, for every request that goes to one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "base/result.h"
#include "identity/secret.h"

namespace tradewind::identity {

// Whose key it is. With the server's the operator pays the provider and bills the caller; with an
// own key the provider bills the caller, and we nothing.
enum class OwnerKind { kServer, kOrg, kUser };
std::string_view OwnerKindName(OwnerKind kind);  // "server", "org", "user"
std::optional<OwnerKind> OwnerKindFromName(std::string_view name);

// Names whose key it is without showing any of it: "" the server's, "org:ID", "user:ID".
std::string OwnerRef(OwnerKind kind, std::string_view owner_id);

struct ProviderSecret {
  std::shared_ptr<const Secret> secret;
  OwnerKind owner = OwnerKind::kServer;
};

// Thread-safe: requests look up while the store publishes.
class ProviderSecrets {
 public:
  // The user's own key, else the organisation's (that pays), else the server's; nullopt when there
  // is none.
  std::optional<ProviderSecret> Find(std::string_view org_id, std::string_view user_id,
                                     std::string_view provider) const;

  // By the store. {kind, owner's id ("" for the server), provider's slug}
  struct Stored {
    std::shared_ptr<const Secret> secret;
    std::string only_org_id = {};  // for what this organisation pays alone; "" = for all
  };
  using Map = std::map<std::tuple<OwnerKind, std::string, std::string>, Stored, std::less<>>;
  void Publish(Map secrets);

  // Is told of each key that Publish brings, takes away or replaces, on the thread that publishes;
  // Find has the new ones by then. Null ends that: once this returns, no call is under way.
  using Listener =
      std::function<void(OwnerKind kind, std::string_view owner_id, std::string_view provider)>;
  void OnChange(Listener listener);

 private:
  std::mutex listener_mutex_;  // held while the listener runs
  Listener listener_;
  mutable std::mutex mutex_;  // held for the copy of one pointer
  std::shared_ptr<const Map> secrets_ = std::make_shared<Map>();
};

// "fireworks-ai": lower case, digits and dashes. Errors: kInvalidArgument (param provider).
Status CheckProviderSlug(std::string_view slug);

// Encryption at rest: libsodium's secretbox, under a key of its own for each row, so that a
// ciphertext moved to another row does not open.
class Sealer {
 public:
  Sealer(Secret sealing_key, Secret fingerprint_key)
      : sealing_key_(std::move(sealing_key)), fingerprint_key_(std::move(fingerprint_key)) {}

  std::string Seal(std::string_view row, const Secret& secret) const;
  // Errors: kCorruptFile.
  Result<Secret> Open(std::string_view row, std::string_view sealed) const;
  // 16 hex digits, the same for the same secret on this server: tells keys apart without showing
  // any of their characters.
  std::string Fingerprint(const Secret& secret) const;

 private:
  Secret RowKey(std::string_view row) const;
  Secret sealing_key_, fingerprint_key_;
};

}  // namespace tradewind::identity
