#include "console_api/catalog_names.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"
#include "billing/meter.h"

namespace tradewind::console_api {
namespace {

constexpr size_t kNameBytesMax = 200;  // of those that are compared: one by one, letter by letter

// Letters to put in, take out or change until the one is the other.
size_t EditsBetween(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// With what they are said.
std::string NearestTo(std::string_view name, const std::vector<std::string>& known) {
  constexpr size_t kNamed = 3;
  const std::string wanted = AsciiLower(name);
  std::vector<std::pair<size_t, std::string>> near;
  for (const std::string& one : known) {
    if (wanted.size() <= kNameBytesMax && one.size() <= kNameBytesMax) {
      near.emplace_back(EditsBetween(wanted, AsciiLower(one)), one);
    }
  }
  const size_t edits_max = std::max<size_t>(2, wanted.size() / 3);
  std::erase_if(near, [&](const auto& one) { return one.first > edits_max; });
  std::ranges::sort(near);
  near.resize(std::min(near.size(), kNamed));
  std::vector<std::string> names;
  for (auto& [edits, one] : near) {
    names.push_back(std::move(one));
  }
  return names.empty() ? "" : fmt::format(" The nearest: {}.", fmt::join(names, ", "));
}

}  // namespace

Result<std::string> NameInCatalog(const catalog::Catalog& catalog, std::string_view kind,
                                  std::string_view name, std::string_view field) {
  const auto unknown = [&](std::string_view why, const std::vector<std::string>& known,
                           std::string_view verb) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}{} `tradewind {}` lists those that there are.", why,
                            NearestTo(name, known), verb),
                std::string(field));
  };
  if (kind == billing::kProviderScope) {
    const catalog::Provider* provider = catalog.FindProvider(AsciiLower(name));
    return provider != nullptr
               ? Result<std::string>(provider->slug)
               : unknown(fmt::format("There is no provider \"{}\".", name.substr(0, kNameBytesMax)),
                         catalog.slugs(), "providers");
  }
  const Result<const catalog::Model*> model = catalog.Resolve(name);
  if (model.has_value()) {
    return (*model)->id;
  }
  std::vector<std::string> known;
  for (const catalog::Model& one : catalog.models()) {
    known.push_back(one.id);
  }
  return unknown(model.error().message, known, "search");
}

}  // namespace tradewind::console_api
