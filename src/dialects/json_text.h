// A JSON object as text whose top level can be edited: of a request or an answer on its way, what
// nobody edits passes byte for byte, numbers that no type of ours could hold included.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tradewind::dialects {

class JsonText {
 public:
  // Strict JSON (RFC 8259) of at most kJsonDepthMax levels, an object at the top. Of fields with
  // the same name the last counts, and only that one is kept: two readers must not see two
  // requests. `what` names it in messages ("body"). Errors: kInvalidArgument.
  static Result<JsonText> Parse(std::string text, std::string_view what = "body");

  // The JSON text of a field's value; empty when there is no such field. null is a value.
  std::string_view Raw(std::string_view name) const;
  bool Has(std::string_view name) const { return !Raw(name).empty(); }
  std::vector<std::string_view> names() const;  // in the order of the text

  // `json` must be valid JSON. A field keeps its place and the spaces around it; a new
  // one goes to the end.
  void Set(std::string_view name, std::string json);
  void Remove(std::string_view name);
  // Keeps the value and its place.
  void Rename(std::string_view name, std::string to);

  // The object as it stands now; the very bytes that were parsed when nothing was edited.
  std::string Text() const;

 private:
  struct Field {
    std::string name;    // unescaped
    size_t from = 0;     // in text_: behind the comma or brace before it
    size_t begin = 0;    // of the name's quote
    size_t value = 0;    // of the value
    size_t end = 0;      // behind the value
    size_t to = 0;       // of the comma or brace after it
    std::string edited;  // replaces the value when not empty
    bool is_renamed = false;
  };
  const Field* Find(std::string_view name) const;

  std::string text_;
  std::vector<Field> fields_;
  bool is_edited_ = false;
};

}  // namespace tradewind::dialects
