// Attributes, items, slices and iteration, with the rules of Jinja's sandbox.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/prompt/runtime.h"

namespace tradewind::engine::prompt {

// `object.name`: attributes and methods first, then keys. Undefined when there is neither; an
// undefined that says "unsafe" for what the sandbox hides. Errors: `object` is undefined.
ValueResult GetAttribute(Run& run, const Value& object, std::string_view name);
// The same without keys (the filter `attr`).
ValueResult GetAttributeOnly(Run& run, const Value& object, std::string_view name);
// `object[key]`: keys and positions first, then attributes.
ValueResult GetItem(Run& run, const Value& object, const Value& key);
// `object[start:stop:step]`; a null part is absent.
ValueResult GetSlice(Run& run, const Value& object, const Value* start, const Value* stop,
                     const Value* step);

// "a.b.0" as map, sort, groupby ... take it.
struct AttributePath {
  std::vector<Value> parts;
};
AttributePath ParsePath(Run& run, const Value& attribute);
ValueResult Follow(Run& run, const AttributePath& path, Value item,
                   const Value* otherwise = nullptr);

// Errors: not iterable.
Result<std::shared_ptr<Iterator>> Iterate(Run& run, const Value& value);
Result<std::vector<Value>> ToVector(Run& run, const Value& value);
bool IsIterable(const Value& value);
// len(). Errors: the type has none.
Result<int64_t> Length(Run& run, const Value& value);

// Where a slice starts and how many elements it takes, after Python's clamping.
struct SliceRange {
  int64_t start = 0, end = 0, step = 1;  // end: the position that stops it, exclusive
  int64_t count = 0;
};
Result<SliceRange> ResolveSlice(int64_t length, const Value* start, const Value* stop,
                                const Value* step);

// The loop object's attributes belong to the interpreter.
ValueResult GetLoopAttribute(Run& run, const Value& loop, std::string_view name);
ValueResult GetMacroAttribute(Run& run, const Value& macro, std::string_view name);

}  // namespace tradewind::engine::prompt
