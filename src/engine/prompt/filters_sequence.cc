// Filters over sequences that give other sequences or one of their elements.
#include <algorithm>
#include <set>

#include "engine/prompt/access.h"
#include "engine/prompt/filters.h"
#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"
#include "engine/prompt/text_operations.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

Value FoldCase(Run& run, const Value& value, bool case_sensitive) {
  return case_sensitive || !value.is_string() ? value : Converted(run, value.text(), ToLower);
}

Result<std::vector<Value>> SortedBy(Run& run, const std::vector<Value>& items,
                                    const std::vector<Value>& keys, bool reverse) {
  TW_ASSIGN_OR_RETURN(const std::vector<size_t> order, SortedOrder(run, keys, reverse));
  std::vector<Value> result;
  result.reserve(items.size());
  for (const size_t i : order) {
    result.push_back(items[i]);
  }
  return result;
}

ValueResult SortFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound,
                      Bind(name, args, {"reverse", "case_sensitive", "attribute"}));
  const bool case_sensitive = bound.Bool(1, false);
  std::vector<AttributePath> paths;
  if (bound.Has(2) && bound[2].is_string()) {
    std::string_view rest = bound[2].text().view();
    for (size_t comma = 0; comma != std::string_view::npos;) {
      comma = rest.find(',');
      paths.push_back(ParsePath(run, run.TextOf(rest.substr(0, comma), false)));
      rest.remove_prefix(comma == std::string_view::npos ? 0 : comma + 1);
    }
  } else {
    paths.push_back(bound.Has(2) ? ParsePath(run, bound[2]) : AttributePath());
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> parts;
    for (const AttributePath& path : paths) {
      TW_ASSIGN_OR_RETURN(const Value part, Follow(run, path, item));
      parts.push_back(FoldCase(run, part, case_sensitive));
    }
    keys.push_back(MakeList(&run.budget, std::move(parts)));  // lists compare element by element
    TW_RETURN_IF_ERROR(run.Check());
  }
  TW_ASSIGN_OR_RETURN(std::vector<Value> sorted, SortedBy(run, items, keys, bound.Bool(0, false)));
  return MakeList(&run.budget, std::move(sorted));
}

ValueResult DictSortFilter(Run& run, std::string_view name, const Value& subject,
                           const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"case_sensitive", "by", "reverse"}));
  TW_ASSIGN_OR_RETURN(const std::string by, bound.String(1, "key"));
  if (by != "key" && by != "value") {
    return RunError("dictsort() sorts by 'key' or 'value'");
  }
  if (!subject.is(Kind::kDict)) {
    return subject.is_undefined() ? UndefinedError(subject)
                                  : RunError("dictsort() needs a dict, not {}", TypeName(subject));
  }
  std::vector<Value> items, keys;
  for (const auto& [key, value] : subject.dict().items) {
    items.push_back(MakeTuple(&run.budget, {key, value}));
    keys.push_back(FoldCase(run, by == "key" ? key : value, bound.Bool(0, false)));
    TW_RETURN_IF_ERROR(run.Check());
  }
  TW_ASSIGN_OR_RETURN(std::vector<Value> sorted, SortedBy(run, items, keys, bound.Bool(2, false)));
  return MakeList(&run.budget, std::move(sorted));
}

ValueResult GroupByFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound,
                      Bind(name, args, {"attribute", "default", "case_sensitive"}, 1));
  const AttributePath path = ParsePath(run, bound[0]);
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  std::vector<Value> keys, pairs;
  for (const Value& item : items) {
    TW_ASSIGN_OR_RETURN(const Value key, Follow(run, path, item, bound.Find(1)));
    keys.push_back(FoldCase(run, key, bound.Bool(2, false)));
    pairs.push_back(MakeTuple(&run.budget, {key, keys.back(), item}));
    TW_RETURN_IF_ERROR(run.Check());
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Value> sorted, SortedBy(run, pairs, keys, false));
  std::vector<Value> groups;
  for (size_t i = 0; i < sorted.size();) {
    const auto& first = sorted[i].list().items;
    std::vector<Value> members;
    for (; i < sorted.size() && Equals(run, sorted[i].list().items[1], first[1]); ++i) {
      members.push_back(sorted[i].list().items[2]);
    }
    TW_RETURN_IF_ERROR(run.Check());
    if (members.empty()) {  // a key that does not equal itself (NaN) is a group of its own
      members.push_back(sorted[i++].list().items[2]);
    }
    groups.push_back(MakeTuple(&run.budget, {first[0], MakeList(&run.budget, std::move(members))}));
    groups.back().as<List>().is_group = true;
  }
  return MakeList(&run.budget, std::move(groups));
}

ValueResult UniqueFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"case_sensitive", "attribute"}));
  const AttributePath path = bound.Has(1) ? ParsePath(run, bound[1]) : AttributePath();
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  std::set<std::string> seen;
  MemoryCharge charge(&run.budget);
  int64_t bytes = 0;
  std::vector<Value> result;
  for (const Value& item : items) {
    TW_ASSIGN_OR_RETURN(const Value key, Follow(run, path, item));
    std::string hash = HashKey(FoldCase(run, key, bound.Bool(0, false)));
    if (hash.empty()) {
      return RunError("unhashable type: '{}'", TypeName(key));
    }
    bytes += static_cast<int64_t>(hash.size()) + 64;
    if (!charge.Set(bytes)) {
      break;
    }
    if (seen.insert(std::move(hash)).second) {
      result.push_back(item);
    }
  }
  return MakeIterator(&run.budget, std::move(result));
}

ValueResult ExtremeFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"case_sensitive", "attribute"}));
  const AttributePath path = bound.Has(1) ? ParsePath(run, bound[1]) : AttributePath();
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  if (items.empty()) {
    return MakeUndefined(&run.budget, "No aggregated item, sequence was empty.");
  }
  const Value* best = nullptr;
  Value best_key;
  for (const Value& item : items) {
    TW_ASSIGN_OR_RETURN(Value key, Follow(run, path, item));
    key = FoldCase(run, key, bound.Bool(0, false));
    bool better = best == nullptr;
    if (!better) {
      TW_ASSIGN_OR_RETURN(better,
                          name == "min" ? Less(run, key, best_key) : Less(run, best_key, key, ">"));
    }
    if (better) {
      best = &item;
      best_key = key;
    }
  }
  return *best;
}

ValueResult FirstFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  TW_ASSIGN_OR_RETURN(const std::shared_ptr<Iterator> each, Iterate(run, subject));
  Value item;
  return each->Next(item) ? item : MakeUndefined(&run.budget, "No first item, sequence was empty.");
}

bool IsReversible(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_sequence() ||
         value.is(Kind::kDict) || value.is(Kind::kDictView) || value.is(Kind::kRange);
}

ValueResult LastFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  if (!IsReversible(subject)) {
    return RunError("'{}' object is not reversible", TypeName(subject));
  }
  TW_ASSIGN_OR_RETURN(const int64_t length, Length(run, subject));
  if (length == 0) {
    return MakeUndefined(&run.budget, "No last item, sequence was empty.");
  }
  if (subject.is_string() || subject.is_sequence() || subject.is(Kind::kRange)) {
    return GetItem(run, subject, Value::Int(-1));
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  return items.back();
}

ValueResult ReverseFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  if (subject.is_string()) {
    const Value step = Value::Int(-1);
    return GetSlice(run, subject, nullptr, nullptr, &step);
  }
  TW_ASSIGN_OR_RETURN(std::vector<Value> items, ToVector(run, subject));
  std::ranges::reverse(items);
  return IsReversible(subject) ? MakeIterator(&run.budget, std::move(items))
                               : MakeList(&run.budget, std::move(items));
}

ValueResult ListFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  TW_ASSIGN_OR_RETURN(std::vector<Value> items, ToVector(run, subject));
  return MakeList(&run.budget, std::move(items));
}

ValueResult ItemsFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  if (subject.is_undefined()) {
    return MakeIterator(&run.budget, {});
  }
  if (!subject.is(Kind::kDict)) {
    return RunError("Can only get item pairs from a mapping.");
  }
  std::vector<Value> items;
  for (const auto& [key, value] : subject.dict().items) {
    items.push_back(MakeTuple(&run.budget, {key, value}));
    TW_RETURN_IF_ERROR(run.Check());
  }
  return MakeIterator(&run.budget, std::move(items));
}

ValueResult BatchFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"linecount", "fill_with"}, 1));
  TW_ASSIGN_OR_RETURN(const int64_t size, bound.Int(0, 0));
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  std::vector<Value> batches, batch;
  for (const Value& item : items) {
    if (static_cast<int64_t>(batch.size()) == size) {
      batches.push_back(MakeList(&run.budget, std::move(batch)));
      batch.clear();
    }
    batch.push_back(item);
    TW_RETURN_IF_ERROR(run.Check());
  }
  if (!batch.empty()) {
    const int64_t missing = size - static_cast<int64_t>(batch.size());
    if (bound.Has(1) && !bound[1].is(Kind::kNone) && missing > 0 &&
        run.budget.Fits(missing > INT64_MAX / 64 ? INT64_MAX
                                                 : missing * static_cast<int64_t>(sizeof(Value)))) {
      batch.insert(batch.end(), static_cast<size_t>(missing), bound[1]);
    }
    batches.push_back(MakeList(&run.budget, std::move(batch)));
  }
  return MakeIterator(&run.budget, std::move(batches));
}

ValueResult SliceFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"slices", "fill_with"}, 1));
  TW_ASSIGN_OR_RETURN(const int64_t slices, bound.Int(0, 0));
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, subject));
  if (slices == 0) {
    return RunError("division by zero");
  }
  const auto length = static_cast<int64_t>(items.size());
  std::vector<Value> result;
  int64_t at = 0;
  for (int64_t i = 0; i < slices && run.budget.ok(); ++i) {
    const bool longer = i < length % slices;
    const int64_t size = length / slices + (longer ? 1 : 0);
    std::vector<Value> part(items.begin() + at, items.begin() + at + size);
    at += size;
    if (bound.Has(1) && !bound[1].is(Kind::kNone) && !longer) {
      part.push_back(bound[1]);
    }
    result.push_back(MakeList(&run.budget, std::move(part)));
  }
  return MakeIterator(&run.budget, std::move(result));
}

}  // namespace

const std::initializer_list<FilterEntry> kSequenceFilters = {
    {"batch", BatchFilter},     {"dictsort", DictSortFilter}, {"first", FirstFilter},
    {"groupby", GroupByFilter}, {"items", ItemsFilter},       {"last", LastFilter},
    {"list", ListFilter},       {"max", ExtremeFilter},       {"min", ExtremeFilter},
    {"reverse", ReverseFilter}, {"slice", SliceFilter},       {"sort", SortFilter},
    {"unique", UniqueFilter},
};

}  // namespace tradewind::engine::prompt
