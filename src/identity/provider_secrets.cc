#include "identity/provider_secrets.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <sodium.h>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"

namespace tradewind::identity {
namespace {

constexpr OwnerKind kKinds[] = {OwnerKind::kServer, OwnerKind::kOrg, OwnerKind::kUser};
constexpr size_t kSlugBytesMax = 64;

const unsigned char* Unsigned(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Unsigned(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

}  // namespace

std::string_view OwnerKindName(OwnerKind kind) {
  switch (kind) {
    case OwnerKind::kServer:
      return "server";
    case OwnerKind::kOrg:
      return "org";
    case OwnerKind::kUser:
      return "user";
  }
  return "";
}

std::optional<OwnerKind> OwnerKindFromName(std::string_view name) {
  const auto* found = std::ranges::find(kKinds, name, OwnerKindName);
  return found == std::end(kKinds) ? std::nullopt : std::optional(*found);
}

std::string OwnerRef(OwnerKind kind, std::string_view owner_id) {
  return kind == OwnerKind::kServer ? std::string()
                                    : fmt::format("{}:{}", OwnerKindName(kind), owner_id);
}

std::optional<ProviderSecret> ProviderSecrets::Find(std::string_view org_id,
                                                    std::string_view user_id,
                                                    std::string_view provider) const {
  std::shared_ptr<const Map> secrets;
  {
    const std::lock_guard lock(mutex_);
    secrets = secrets_;
  }
  const std::pair<OwnerKind, std::string_view> owners[] = {
      {OwnerKind::kUser, user_id}, {OwnerKind::kOrg, org_id}, {OwnerKind::kServer, ""}};
  for (const auto& [kind, owner] : owners) {
    const auto found = secrets->find(std::tuple(kind, owner, provider));
    if (found == secrets->end()) {
      continue;
    }
    const auto& [secret, only_org_id] = found->second;
    if (only_org_id.empty() || only_org_id == org_id) {
      return ProviderSecret{secret, kind};
    }
  }
  return std::nullopt;
}

void ProviderSecrets::Publish(Map secrets) {
  const std::shared_ptr<const Map> next = std::make_shared<Map>(std::move(secrets));
  std::shared_ptr<const Map> before = next;
  {
    const std::lock_guard lock(mutex_);
    std::swap(secrets_, before);
  }
  const std::lock_guard lock(listener_mutex_);
  if (!listener_) {
    return;
  }
  const auto tell = [&](const Map::key_type& of) {
    listener_(std::get<0>(of), std::get<1>(of), std::get<2>(of));
  };
  for (const auto& [of, stored] : *before) {
    const auto now = next->find(of);
    if (now == next->end() || now->second.secret->Reveal() != stored.secret->Reveal()) {
      tell(of);
    }
  }
  for (const auto& [of, stored] : *next) {
    if (!before->contains(of)) {
      tell(of);
    }
  }
}

void ProviderSecrets::OnChange(Listener listener) {
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(listener);
}

Status CheckProviderSlug(std::string_view slug) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  if (slug.empty() || slug.size() > kSlugBytesMax || !std::ranges::all_of(slug, fits) ||
      slug == "local") {
    return Fail(ErrorCode::kInvalidArgument,
                "`provider` must be a provider's slug, such as together or fireworks-ai.",
                "provider");
  }
  return {};
}

Secret Sealer::RowKey(std::string_view row) const {
  Secret out = Secret::OfSize(crypto_secretbox_KEYBYTES);
  const int failed = crypto_generichash(out.data(), out.size(), Unsigned(row), row.size(),
                                        sealing_key_.data(), sealing_key_.size());
  TW_CHECK(failed == 0);  // only wrong sizes of our own fail
  return out;
}

std::string Sealer::Seal(std::string_view row, const Secret& secret) const {
  std::string out(crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + secret.size(), '\0');
  randombytes_buf(out.data(), crypto_secretbox_NONCEBYTES);  // 192 bits: random ones never repeat
  crypto_secretbox_easy(Unsigned(out) + crypto_secretbox_NONCEBYTES, secret.data(), secret.size(),
                        Unsigned(out), RowKey(row).data());
  return out;
}

Result<Secret> Sealer::Open(std::string_view row, std::string_view sealed) const {
  constexpr size_t kAround = crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES;
  if (sealed.size() >= kAround) {
    Secret out = Secret::OfSize(sealed.size() - kAround);
    const std::string_view box = sealed.substr(crypto_secretbox_NONCEBYTES);
    if (crypto_secretbox_open_easy(out.data(), Unsigned(box), box.size(), Unsigned(sealed),
                                   RowKey(row).data()) == 0) {
      return out;
    }
  }
  return Fail(ErrorCode::kCorruptFile,
              fmt::format("the stored provider key of {} does not open; store it again with "
                          "`tradewind login`",
                          row));
}

std::string Sealer::Fingerprint(const Secret& secret) const {
  std::array<unsigned char, 16> digest;
  const int failed = crypto_generichash(digest.data(), digest.size(), secret.data(), secret.size(),
                                        fingerprint_key_.data(), fingerprint_key_.size());
  TW_CHECK(failed == 0);
  std::string out;
  for (size_t i = 0; i < 8; ++i) {
    out += fmt::format("{:02x}", digest[i]);
  }
  return out;
}

}  // namespace tradewind::identity
