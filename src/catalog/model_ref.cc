#include "catalog/model_ref.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/limits.h"
#include "base/text.h"
#include "base/utf8.h"
#include "catalog/known_providers.h"

namespace tradewind::catalog {
namespace {

std::unexpected<Error> NotSupported(std::string message) {
  return Fail(ErrorCode::kModelNotSupported, std::move(message), "model");
}

bool LooksLikePath(std::string_view text) {
  return text.starts_with('/') || text.starts_with("./") || text.starts_with("../") ||
         text.starts_with("~/") || AsciiLower(text).ends_with(".gguf");
}

bool Holds(std::span<const std::string> slugs, std::string_view suffix) {
  return std::find(slugs.begin(), slugs.end(), suffix) != slugs.end();
}

// False when the suffix is no place.
bool ReadPlace(const std::string& suffix, std::span<const std::string> slugs, ModelRef& ref) {
  if (suffix == "local") {
    ref.place = Place::kLocal;
  } else if (IsPolicy(suffix)) {
    ref.place = Place::kPolicy;
  } else if (IsProviderSlug(suffix) || Holds(slugs, suffix)) {
    ref.place = Place::kProvider;
  } else {
    return false;
  }
  ref.suffix = suffix;
  return true;
}

}  // namespace

Result<ModelRef> ParseModelRef(std::string_view text, RefSource source,
                               std::span<const std::string> slugs) {
  if (text.empty() || text.size() > limits::kModelStringBytesMax || !IsValidUtf8(text)) {
    return NotSupported(
        fmt::format("A model string has 1 to {} bytes of UTF-8.", limits::kModelStringBytesMax));
  }
  ModelRef ref;
  if (source == RefSource::kCommandLine && LooksLikePath(text)) {
    ref.model = text;
    ref.is_path = true;
    return ref;
  }
  // A place never holds a slash, so a separator before the last one belongs to the name.
  const size_t slash = text.rfind('/');
  const size_t name = slash == std::string_view::npos ? 0 : slash + 1;
  const size_t at = text.find_last_of(source == RefSource::kCommandLine ? ":@" : ":");
  if (at == std::string_view::npos || at < name) {
    ref.model = text;
    return ref;
  }
  const std::string suffix = AsciiLower(text.substr(at + 1));
  ref.model = text.substr(0, at);
  if (ref.model.size() <= name || suffix.empty()) {
    return NotSupported(
        fmt::format("\"{}\" lacks a name or what stands after '{}'.", text, text[at]));
  }
  if (ReadPlace(suffix, slugs, ref)) {
    return ref;
  }
  if (text[at] == '@') {
    return NotSupported(
        fmt::format("\"{}\" is no place: use local, a provider's name{}, or fastest, cheapest, "
                    "preferred, private.",
                    suffix, slugs.empty() ? "" : fmt::format(" ({})", fmt::join(slugs, ", "))));
  }
  if (suffix != "latest") {
    ref.tag = text.substr(at + 1);
  }
  return ref;
}

}  // namespace tradewind::catalog
