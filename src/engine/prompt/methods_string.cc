// Methods of str (and of bytes, as far as there are any).
#include <algorithm>

#include "engine/prompt/access.h"
#include "engine/prompt/format.h"
#include "engine/prompt/text_operations.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

using MethodFunction = ValueResult (*)(Run&, const Value&, std::string_view, const Args&);

Result<const Text*> TextArgument(const Bound& bound, size_t i, std::string_view method) {
  if (!bound[i].is_string()) {
    return RunError("{}() needs a str, not {}", method, TypeName(bound[i]));
  }
  return &bound[i].text();
}

ValueResult StripMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"chars"}));
  const Text* chars = nullptr;
  if (bound.Has(0) && !bound[0].is(Kind::kNone)) {
    TW_ASSIGN_OR_RETURN(chars, TextArgument(bound, 0, name));
  }
  return Strip(run, self.text(), chars, name != "rstrip", name != "lstrip");
}

std::vector<Value> SplitOnSpace(Run& run, const Text& text, int64_t splits, bool from_right) {
  std::vector<std::pair<size_t, size_t>> words;
  size_t begin = SIZE_MAX;
  ForEachChar(text.view(), [&](size_t at, size_t, char32_t c) {
    if (IsSpace(c)) {
      if (begin != SIZE_MAX) {
        words.emplace_back(begin, at);
      }
      begin = SIZE_MAX;
    } else if (begin == SIZE_MAX) {
      begin = at;
    }
  });
  if (begin != SIZE_MAX) {
    words.emplace_back(begin, text.size());
  }
  const auto count = static_cast<int64_t>(words.size());
  if (splits >= 0 && count > splits) {
    // The words beyond the last split stay together, with the space between them and outside.
    const auto keep = static_cast<size_t>(splits);
    if (from_right) {
      const size_t end = words[words.size() - keep - 1].second;
      words.erase(words.begin(), words.end() - splits - 1);
      words.front() = {0, end};
    } else {
      words.resize(keep + 1);
      words.back().second = text.size();
    }
  }
  std::vector<Value> parts;
  for (const auto& [from, to] : words) {
    if (!run.budget.ok()) {
      break;
    }
    parts.push_back(Slice(&run.budget, text, from, to));
  }
  return parts;
}

std::vector<Value> SplitOn(Run& run, const Text& text, std::string_view separator, int64_t splits,
                           bool from_right) {
  std::vector<Value> parts;
  const std::string_view view = text.view();
  if (from_right) {
    size_t end = view.size();
    while (splits != 0 && run.budget.ok()) {
      const size_t at = end < separator.size() ? std::string_view::npos
                                               : view.rfind(separator, end - separator.size());
      if (at == std::string_view::npos) {
        break;
      }
      parts.push_back(Slice(&run.budget, text, at + separator.size(), end));
      end = at;
      --splits;
    }
    parts.push_back(Slice(&run.budget, text, 0, end));
    std::ranges::reverse(parts);
    return parts;
  }
  size_t begin = 0;
  for (; splits != 0 && run.budget.ok(); --splits) {
    const size_t at = view.find(separator, begin);
    if (at == std::string_view::npos) {
      break;
    }
    parts.push_back(Slice(&run.budget, text, begin, at));
    begin = at + separator.size();
  }
  parts.push_back(Slice(&run.budget, text, begin, view.size()));
  return parts;
}

ValueResult SplitMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"sep", "maxsplit"}));
  TW_ASSIGN_OR_RETURN(const int64_t splits, bound.Int(1, -1));
  run.budget.SpendConversion(static_cast<int64_t>(self.text().size()));
  const bool from_right = name == "rsplit";
  if (!bound.Has(0) || bound[0].is(Kind::kNone)) {
    return MakeList(&run.budget, SplitOnSpace(run, self.text(), splits, from_right));
  }
  TW_ASSIGN_OR_RETURN(const Text* separator, TextArgument(bound, 0, name));
  if (separator->size() == 0) {
    return RunError("empty separator");
  }
  return MakeList(&run.budget, SplitOn(run, self.text(), separator->view(), splits, from_right));
}

ValueResult SplitLinesMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"keepends"}));
  return MakeList(&run.budget, SplitLines(run, self.text(), bound.Bool(0, false)));
}

ValueResult PartitionMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"sep"}, 1));
  TW_ASSIGN_OR_RETURN(const Text* separator, TextArgument(bound, 0, name));
  if (separator->size() == 0) {
    return RunError("empty separator");
  }
  const Text& text = self.text();
  const bool last = name == "rpartition";
  const size_t at =
      last ? text.view().rfind(separator->view()) : text.view().find(separator->view());
  run.budget.SpendCopy(static_cast<int64_t>(text.size()));
  const Value nothing = run.TextOf("", true);
  if (at == std::string_view::npos) {
    return last ? MakeTuple(&run.budget, {nothing, nothing, self})
                : MakeTuple(&run.budget, {self, nothing, nothing});
  }
  const size_t after = at + separator->size();
  return MakeTuple(&run.budget,
                   {Slice(&run.budget, text, 0, at), Slice(&run.budget, text, at, after),
                    Slice(&run.budget, text, after, text.size())});
}

// The bytes of self[start:end] for methods that take such bounds as arguments 1 and 2.
struct Window {
  size_t begin = 0, end = 0;
  bool valid = true;  // false when start lies behind the end of the text
};
Result<Window> WindowOf(const Text& text, const Bound& bound) {
  TW_ASSIGN_OR_RETURN(const SliceRange range,
                      ResolveSlice(text.length(), bound.Find(1), bound.Find(2), nullptr));
  TW_ASSIGN_OR_RETURN(const int64_t start, bound.Int(1, 0));
  return Window{text.ByteOffset(range.start), text.ByteOffset(range.start + range.count),
                start <= text.length()};
}

ValueResult AffixMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"prefix", "start", "end"}, 1));
  TW_ASSIGN_OR_RETURN(const Window window, WindowOf(self.text(), bound));
  const std::string_view text = self.text().view().substr(window.begin, window.end - window.begin);
  const std::vector<Value> one = {bound[0]};
  for (const Value& affix : bound[0].is(Kind::kTuple) ? bound[0].list().items : one) {
    if (!affix.is_string()) {
      return RunError("{}() needs a str or a tuple of str, not {}", name, TypeName(affix));
    }
    run.budget.SpendCopy(static_cast<int64_t>(affix.text().size()));
    const std::string_view wanted = affix.text().view();
    if (window.valid &&
        (name == "startswith" ? text.starts_with(wanted) : text.ends_with(wanted))) {
      return Value::Bool(true);
    }
  }
  return Value::Bool(false);
}

int64_t CountChars(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

ValueResult FindMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"sub", "start", "end"}, 1));
  TW_ASSIGN_OR_RETURN(const Text* wanted, TextArgument(bound, 0, name));
  const Text& text = self.text();
  TW_ASSIGN_OR_RETURN(const Window window, WindowOf(text, bound));
  const std::string_view inside = text.view().substr(window.begin, window.end - window.begin);
  run.budget.SpendCopy(static_cast<int64_t>(inside.size()) * 2);
  const bool from_data = text.any_data() || wanted->any_data();
  if (name == "count") {
    int64_t count = 0;
    if (wanted->size() == 0) {
      count = window.valid ? CountChars(inside) + 1 : 0;
    } else {
      for (size_t at = inside.find(wanted->view()); at != std::string_view::npos;
           at = inside.find(wanted->view(), at + wanted->size())) {
        ++count;
      }
    }
    return Value::Int(count, from_data);
  }
  size_t at = name.starts_with('r') ? inside.rfind(wanted->view()) : inside.find(wanted->view());
  at = window.valid ? at : std::string_view::npos;
  if (at != std::string_view::npos) {
    return Value::Int(CountChars(text.view().substr(0, window.begin + at)), from_data);
  }
  return name.ends_with("index") ? ValueResult(RunError("substring not found")) : Value::Int(-1);
}

ValueResult ReplaceMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"old", "new", "count"}, 2));
  TW_ASSIGN_OR_RETURN(const int64_t count, bound.Int(2, -1));
  if (self.text().markup()) {  // takes anything, escaped
    const Value from = Escape(run, bound[0]), to = Escape(run, bound[1]);
    return Replace(run, self.text(), from.text(), to.text(), count);
  }
  TW_ASSIGN_OR_RETURN(const Text* from, TextArgument(bound, 0, name));
  TW_ASSIGN_OR_RETURN(const Text* to, TextArgument(bound, 1, name));
  return Replace(run, self.text(), *from, *to, count);
}

ValueResult RemoveAffixMethod(Run& run, const Value& self, std::string_view name,
                              const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"affix"}, 1));
  TW_ASSIGN_OR_RETURN(const Text* affix, TextArgument(bound, 0, name));
  const Text& text = self.text();
  if (name == "removeprefix" && text.view().starts_with(affix->view())) {
    return Slice(&run.budget, text, affix->size(), text.size());
  }
  if (name == "removesuffix" && text.view().ends_with(affix->view())) {
    return Slice(&run.budget, text, 0, text.size() - affix->size());
  }
  return self;
}

ValueResult JoinMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"iterable"}, 1));
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, bound[0]));
  TextBuilder out(&run.budget);
  for (size_t i = 0; i < items.size() && run.budget.ok(); ++i) {
    if (!items[i].is_string() && !self.text().markup()) {
      return RunError("sequence item {}: expected str instance, {} found", i, TypeName(items[i]));
    }
    if (i > 0) {
      out.Append(self.text());
    }
    out.Append((self.text().markup() ? Escape(run, items[i]) : items[i]).text());
  }
  return out.Finish(self.text().markup());
}

ValueResult PadMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"width", "fillchar"}, 1));
  TW_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 0));
  const Value fill = bound.Has(1) ? bound[1] : run.TextOf(" ", true);
  if (!fill.is_string() || fill.text().length() != 1) {
    return RunError("the fill character must be exactly one character long");
  }
  return Pad(run, self.text(), width, fill.text(), name == "center" ? 'c' : name[0]);
}

ValueResult ZfillMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"width"}, 1));
  TW_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 0));
  const Text& text = self.text();
  const size_t sign = text.size() > 0 && (text.view()[0] == '+' || text.view()[0] == '-') ? 1 : 0;
  TextBuilder out(&run.budget);
  out.Append(text, 0, sign);
  out.AppendRepeated(run.TextOf("0", true).text(), width - text.length());
  out.Append(text, sign, text.size());
  return out.Finish(text.markup());
}

ValueResult ExpandTabsMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"tabsize"}));
  TW_ASSIGN_OR_RETURN(const int64_t size, bound.Int(0, 8));
  const Text& text = self.text();
  const Value space = run.TextOf(" ", !text.any_data());
  run.budget.SpendConversion(static_cast<int64_t>(text.size()));
  TextBuilder out(&run.budget);
  int64_t column = 0;
  ForEachChar(text.view(), [&](size_t at, size_t bytes, char32_t c) {
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out.AppendRepeated(space.text(), spaces);
      column += spaces;
    } else {
      out.Append(text, at, at + bytes);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  });
  return out.Finish(text.markup());
}

ValueResult ConvertMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {}));
  return Converted(run, self.text(), FindConversion(name));
}

bool IsTitled(std::string_view text) {
  bool titled = false, after_cased = false, wrong = false;
  ForEachChar(text, [&](size_t, size_t, char32_t c) {
    const bool upper = IsUpper(c) || IsTitle(c);
    wrong = wrong || (upper && after_cased) || (IsLower(c) && !after_cased);
    after_cased = upper || IsLower(c);
    titled = titled || after_cased;
  });
  return titled && !wrong;
}

ValueResult ClassMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {}));
  const std::string_view text = self.text().view();
  run.budget.SpendConversion(static_cast<int64_t>(text.size()));
  if (name == "istitle") {
    return Value::Bool(IsTitled(text));
  }
  if (name == "islower" || name == "isupper") {
    bool cased = false, wrong = false;
    ForEachChar(text, [&](size_t, size_t, char32_t c) {
      const bool right = name == "islower" ? IsLower(c) : IsUpper(c);
      cased = cased || right;
      wrong = wrong || (IsCased(c) && !right);
    });
    return Value::Bool(cased && !wrong);
  }
  if (name == "isidentifier") {
    bool fine = !text.empty();
    ForEachChar(text, [&](size_t at, size_t, char32_t c) {
      fine = fine && (c == '_' || IsAlpha(c) || (at > 0 && IsAlnum(c)));
    });
    return Value::Bool(fine);
  }
  static constexpr std::pair<std::string_view, bool (*)(char32_t)> kClasses[] = {
      {"isalpha", IsAlpha},         {"isdigit", IsDigit},
      {"isdecimal", IsDecimal},     {"isnumeric", IsNumeric},
      {"isalnum", IsAlnum},         {"isspace", IsSpace},
      {"isprintable", IsPrintable}, {"isascii", [](char32_t c) { return c < 0x80; }}};
  const auto* found =
      std::ranges::find(kClasses, name, [](const auto& entry) { return entry.first; });
  bool all = !text.empty() || name == "isascii" || name == "isprintable";
  ForEachChar(text, [&](size_t, size_t, char32_t c) { all = all && found->second(c); });
  return Value::Bool(all);
}

ValueResult FormatMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  if (name == "format") {
    return StrFormat(run, self, args);
  }
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"mapping"}, 1));
  if (!bound[0].is(Kind::kDict)) {
    return RunError("format_map() needs a dict");
  }
  Args named;
  for (const auto& [key, value] : bound[0].dict().items) {
    if (key.is_string()) {
      named.named.emplace_back(key.text().view(), value);
    }
  }
  return StrFormat(run, self, named);
}

ValueResult EncodeMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"encoding", "errors"}));
  TW_ASSIGN_OR_RETURN(std::string encoding, bound.String(0, "utf-8"));
  encoding = ToLower(encoding);
  if (encoding != "utf-8" && encoding != "utf8" &&
      (encoding != "ascii" || !self.text().is_ascii())) {
    return RunError("encode() supports utf-8, and ascii for ASCII text");
  }
  const Value copy = Slice(&run.budget, self.text(), 0, self.text().size());
  return Value(Kind::kBytes, copy.object());
}

struct Entry {
  std::string_view name;
  MethodFunction function;
};
constexpr Entry kMethods[] = {
    {"capitalize", ConvertMethod},
    {"casefold", ConvertMethod},
    {"center", PadMethod},
    {"count", FindMethod},
    {"encode", EncodeMethod},
    {"endswith", AffixMethod},
    {"expandtabs", ExpandTabsMethod},
    {"find", FindMethod},
    {"format", FormatMethod},
    {"format_map", FormatMethod},
    {"index", FindMethod},
    {"isalnum", ClassMethod},
    {"isalpha", ClassMethod},
    {"isascii", ClassMethod},
    {"isdecimal", ClassMethod},
    {"isdigit", ClassMethod},
    {"isidentifier", ClassMethod},
    {"islower", ClassMethod},
    {"isnumeric", ClassMethod},
    {"isprintable", ClassMethod},
    {"isspace", ClassMethod},
    {"istitle", ClassMethod},
    {"isupper", ClassMethod},
    {"join", JoinMethod},
    {"ljust", PadMethod},
    {"lower", ConvertMethod},
    {"lstrip", StripMethod},
    {"partition", PartitionMethod},
    {"removeprefix", RemoveAffixMethod},
    {"removesuffix", RemoveAffixMethod},
    {"replace", ReplaceMethod},
    {"rfind", FindMethod},
    {"rindex", FindMethod},
    {"rjust", PadMethod},
    {"rpartition", PartitionMethod},
    {"rsplit", SplitMethod},
    {"rstrip", StripMethod},
    {"split", SplitMethod},
    {"splitlines", SplitLinesMethod},
    {"startswith", AffixMethod},
    {"strip", StripMethod},
    {"swapcase", ConvertMethod},
    {"title", ConvertMethod},
    {"upper", ConvertMethod},
    {"zfill", ZfillMethod},
};

const Entry* FindMethodEntry(std::string_view name) {
  const auto* at = std::ranges::find(kMethods, name, &Entry::name);
  return at == std::end(kMethods) ? nullptr : at;
}

}  // namespace

bool StringMethodExists(std::string_view name) {
  return FindMethodEntry(name) != nullptr;
}

ValueResult CallStringMethod(Run& run, const Value& self, std::string_view name, const Args& args) {
  return FindMethodEntry(name)->function(run, self, name, args);
}

}  // namespace tradewind::engine::prompt
