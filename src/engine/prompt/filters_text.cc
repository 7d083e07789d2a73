// Filters whose subject is text. Like Jinja's, most take any value and use its str().
#include <algorithm>

#include "engine/prompt/access.h"
#include "engine/prompt/filters.h"
#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"
#include "engine/prompt/text_operations.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

ValueResult ConvertFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  return Converted(run, SoftStr(run, subject).text(), FindConversion(name));
}

// Words begin after white space and after any of - ( { [ <.
std::string TitleAfterPunctuation(std::string_view text) {
  std::string out;
  size_t word = 0;
  const auto flush = [&](size_t end) {
    if (end > word) {
      const size_t first = static_cast<size_t>(DecodeUtf8(text.substr(word)).bytes);
      out += ToUpper(text.substr(word, first));
      out += ToLower(text.substr(word + first, end - word - first));
    }
  };
  ForEachChar(text, [&](size_t at, size_t bytes, char32_t c) {
    if (IsSpace(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
      flush(at);
      out += text.substr(at, bytes);
      word = at + bytes;
    }
  });
  flush(text.size());
  return out;
}

ValueResult TitleFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  const Value text = ToStr(run, subject);
  return Converted(run, text.text(), TitleAfterPunctuation);
}

ValueResult TrimFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"chars"}));
  const bool given = bound.Has(0) && !bound[0].is(Kind::kNone);
  if (given && !bound[0].is_string()) {
    return RunError("trim() needs a str, not {}", TypeName(bound[0]));
  }
  return Strip(run, SoftStr(run, subject).text(), given ? &bound[0].text() : nullptr, true, true);
}

ValueResult ReplaceFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"old", "new", "count"}, 2));
  TW_ASSIGN_OR_RETURN(const int64_t count, bound.Int(2, -1));
  return Replace(run, ToStr(run, subject).text(), ToStr(run, bound[0]).text(),
                 ToStr(run, bound[1]).text(), count);
}

ValueResult StringFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  return SoftStr(run, subject);
}

ValueResult JoinFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"d", "attribute"}));
  const bool by_attribute = bound.Has(1) && !bound[1].is(Kind::kNone);
  const AttributePath path = by_attribute ? ParsePath(run, bound[1]) : AttributePath();
  const Value separator = bound.Has(0) ? ToStr(run, bound[0]) : run.TextOf("", true);
  TW_ASSIGN_OR_RETURN(const std::shared_ptr<Iterator> each, Iterate(run, subject));
  TextBuilder out(&run.budget);
  Value item;
  for (bool first = true; run.budget.ok() && each->Next(item); first = false) {
    TW_ASSIGN_OR_RETURN(item, Follow(run, path, std::move(item)));
    if (!first) {
      out.Append(separator.text());
    }
    AppendStr(run, item, out);
  }
  return out.Finish();
}

ValueResult CenterFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"width"}));
  TW_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 80));
  return Pad(run, SoftStr(run, subject).text(), width, run.TextOf(" ", true).text(), 'c');
}

ValueResult FormatFilter(Run& run, std::string_view, const Value& subject, const Args& args) {
  if (!args.positional.empty() && !args.named.empty()) {
    return RunError("format() takes positional or named arguments, not both");
  }
  if (args.named.empty()) {
    return PercentFormat(run, SoftStr(run, subject), MakeTuple(&run.budget, args.positional));
  }
  Dict::Items items;
  for (const auto& [key, value] : args.named) {
    items.emplace_back(run.TextOf(key, !args.names_from_data), value);
  }
  return PercentFormat(run, SoftStr(run, subject), MakeDict(&run.budget, std::move(items)));
}

ValueResult IndentFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"width", "first", "blank"}));
  if (subject.is_undefined()) {
    return UndefinedError(subject);
  }
  if (!subject.is_string()) {
    return RunError("indent() needs a str, not {}", TypeName(subject));
  }
  Value indention;
  if (bound.Has(0) && bound[0].is_string()) {
    indention = subject.text().markup() ? Escape(run, bound[0]) : bound[0];
  } else {
    TW_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 4));
    TextBuilder spaces(&run.budget);
    spaces.AppendRepeated(run.TextOf(" ", true).text(), width);
    indention = spaces.Finish();
  }
  std::vector<Value> lines = SplitLines(run, subject.text(), false);
  // As if a line end were added: a text that ends in one has an empty line more, and every text has
  // a line.
  const std::string_view text = subject.text().view();
  bool ends_line = text.empty();
  if (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (text[last] & 0xC0) == 0x80) {
      --last;
    }
    ends_line = IsLineBreak(DecodeUtf8(text.substr(last)).code_point) && text[last] != '\r';
  }
  if (ends_line) {
    lines.push_back(run.TextOf("", true));
  }
  TextBuilder out(&run.budget);
  for (size_t i = 0; i < lines.size() && run.budget.ok(); ++i) {
    if (i > 0) {
      out.Append("\n", !subject.text().any_data());
    }
    const bool indented =
        i == 0 ? bound.Bool(1, false) : bound.Bool(2, false) || lines[i].text().size() > 0;
    if (indented) {
      out.Append(indention.text());
    }
    out.Append(lines[i].text());
  }
  return out.Finish(subject.text().markup());
}

ValueResult TruncateFilter(Run& run, std::string_view name, const Value& subject,
                           const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound,
                      Bind(name, args, {"length", "killwords", "end", "leeway"}));
  TW_ASSIGN_OR_RETURN(const int64_t length, bound.Int(0, 255));
  TW_ASSIGN_OR_RETURN(const int64_t leeway, bound.Int(3, 5));
  const Value end = bound.Has(2) ? SoftStr(run, bound[2]) : run.TextOf("...", true);
  if (length < end.text().length() || leeway < 0) {
    return RunError("truncate() needs a length of at least {} and a leeway of at least 0",
                    end.text().length());
  }
  TW_ASSIGN_OR_RETURN(const int64_t actual, Length(run, subject));
  if (!subject.is_string()) {
    return actual <= length ? ValueResult(subject)
                            : RunError("truncate() needs a str, not {}", TypeName(subject));
  }
  const Text& text = subject.text();
  if (actual - leeway <= length) {
    return subject;
  }
  size_t cut = text.ByteOffset(length - end.text().length());
  if (!bound.Bool(1, false)) {
    const size_t space = text.view().substr(0, cut).rfind(' ');
    cut = space == std::string_view::npos ? cut : space;
  }
  TextBuilder out(&run.budget);
  out.Append(text, 0, cut);
  out.Append(end.text());
  return out.Finish(text.markup());
}

ValueResult WordCountFilter(Run& run, std::string_view name, const Value& subject,
                            const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  const Value text = SoftStr(run, subject);
  run.budget.SpendConversion(static_cast<int64_t>(text.text().size()));
  int64_t count = 0;
  bool in_word = false;
  ForEachChar(text.text().view(), [&](size_t, size_t, char32_t c) {
    const bool word = IsWordChar(c);
    count += word && !in_word ? 1 : 0;
    in_word = word;
  });
  return Value::Int(count, text.text().any_data());
}

// Wraps one paragraph as textwrap.wrap does: words and the space between them are chunks; lines
// take chunks as long as they fit; space is dropped at the ends of lines.
class Wrapper {
 public:
  Wrapper(int64_t width, bool break_long, bool on_hyphens, std::string_view separator,
          std::string& out)
      : width_(static_cast<size_t>(width)),
        break_long_(break_long),
        on_hyphens_(on_hyphens),
        separator_(separator),
        out_(out) {}

  void Wrap(std::string_view paragraph) {
    std::vector<std::u32string> chunks = Chunks(paragraph);
    std::ranges::reverse(chunks);
    bool first = true;
    while (!chunks.empty()) {
      if (!first && IsSpace(chunks.back()[0])) {
        chunks.pop_back();
        continue;
      }
      std::u32string line = TakeLine(chunks);
      while (!line.empty() && IsSpace(line.back())) {
        line.pop_back();
      }
      if (line.empty()) {
        continue;
      }
      out_ += first ? std::string_view() : separator_;
      first = false;
      for (const char32_t c : line) {
        AppendUtf8(c, out_);
      }
    }
  }

 private:
  // Between letters a hyphen ends a chunk if both parts have two word characters or more.
  static bool BreaksAfterHyphen(const std::u32string& text, size_t hyphen) {
    const bool before = hyphen >= 2 && IsAlpha(text[hyphen - 1]) && IsWordChar(text[hyphen - 2]);
    if (!before || hyphen + 2 >= text.size() || !IsWordChar(text[hyphen + 1])) {
      return false;
    }
    size_t at = hyphen + 2;
    while (at < text.size() && IsWordChar(text[at]) && !IsAlpha(text[at])) {
      ++at;
    }
    return at < text.size() && IsAlpha(text[at]);
  }

  std::vector<std::u32string> Chunks(std::string_view paragraph) const {
    std::u32string text;
    ForEachChar(paragraph, [&text](size_t, size_t, char32_t c) { text += c; });
    std::vector<std::u32string> chunks;
    for (size_t i = 0; i < text.size(); ++i) {
      const bool after_hyphen =
          on_hyphens_ && i > 0 && text[i - 1] == '-' && BreaksAfterHyphen(text, i - 1);
      if (i == 0 || IsSpace(text[i]) != IsSpace(text[i - 1]) || after_hyphen) {
        chunks.emplace_back();
      }
      chunks.back() += text[i];
    }
    return chunks;
  }

  std::u32string TakeLine(std::vector<std::u32string>& chunks) const {
    std::u32string line;
    while (!chunks.empty() && line.size() + chunks.back().size() <= width_) {
      line += chunks.back();
      chunks.pop_back();
    }
    if (!chunks.empty() && chunks.back().size() > width_) {
      if (break_long_) {
        size_t room = std::max<size_t>(width_ - line.size(), line.empty() ? 1 : 0);
        if (on_hyphens_ && room > 0) {
          const size_t hyphen = chunks.back().substr(0, room).rfind(U'-');
          if (hyphen != std::u32string::npos && chunks.back().find_first_not_of(U'-') < hyphen) {
            room = hyphen + 1;
          }
        }
        line += chunks.back().substr(0, room);
        chunks.back().erase(0, room);
      } else if (line.empty()) {
        line = std::move(chunks.back());
        chunks.pop_back();
      }
    }
    return line;
  }

  const size_t width_;
  const bool break_long_, on_hyphens_;
  const std::string_view separator_;
  std::string& out_;
};

ValueResult WordWrapFilter(Run& run, std::string_view name, const Value& subject,
                           const Args& args) {
  TW_ASSIGN_OR_RETURN(
      const Bound bound,
      Bind(name, args, {"width", "break_long_words", "wrapstring", "break_on_hyphens"}));
  TW_ASSIGN_OR_RETURN(const int64_t width, bound.Int(0, 79));
  const bool own_separator = bound.Has(2) && !bound[2].is(Kind::kNone);
  TW_ASSIGN_OR_RETURN(const std::string separator,
                      own_separator ? bound.String(2, "") : Result<std::string>("\n"));
  if (!subject.is_string() || width <= 0) {
    return RunError("wordwrap() needs a str and a width above 0");
  }
  const auto size = static_cast<int64_t>(subject.text().size());
  // A line is at least one character: at most one separator for each.
  if (!run.budget.SpendConversion(size) ||
      !run.budget.Fits(size * (40 + static_cast<int64_t>(separator.size())))) {
    return Value();
  }
  std::string out;
  Wrapper wrapper(width, bound.Bool(1, true), bound.Bool(3, true), separator, out);
  bool first = true;
  for (const Value& line : SplitLines(run, subject.text(), false)) {
    out += first ? "" : separator;
    first = false;
    wrapper.Wrap(line.text().view());
  }
  const bool literal =
      !subject.text().any_data() && (!own_separator || !bound[2].text().any_data());
  return run.TextOf(out, literal);
}

Result<std::string> IndentOf(const Value& indent) {
  if (indent.is_string()) {
    return std::string(indent.text().view());
  }
  if (!indent.is_integral()) {
    return RunError("indent must be an integer or a string, not {}", TypeName(indent));
  }
  if (indent.integer() > limits::kTemplateIndentMax) {
    return RunError("indent must not be above {}", limits::kTemplateIndentMax);
  }
  return std::string(static_cast<size_t>(std::max<int64_t>(indent.integer(), 0)), ' ');
}

ValueResult ToJsonFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound,
                      Bind(name, args, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = bound.Bool(0, false);
  style.sort_keys = bound.Bool(3, false);
  if (bound.Has(1) && !bound[1].is(Kind::kNone)) {
    TW_ASSIGN_OR_RETURN(style.indent, IndentOf(bound[1]));
    style.literal = !bound[1].is_string() || !bound[1].text().any_data();
    style.item_separator = ",";
  }
  if (bound.Has(2) && !bound[2].is(Kind::kNone)) {
    const bool pair = bound[2].is_sequence() && bound[2].list().items.size() == 2 &&
                      bound[2].list().items[0].is_string() && bound[2].list().items[1].is_string();
    if (!pair) {
      return RunError("separators must be a pair of strings");
    }
    const Text &item = bound[2].list().items[0].text(), &key = bound[2].list().items[1].text();
    style.item_separator = item.view();
    style.key_separator = key.view();
    style.literal = style.literal && !item.any_data() && !key.any_data();
  }
  return ToJson(run, subject, style);
}

}  // namespace

const std::initializer_list<FilterEntry> kTextFilters = {
    {"capitalize", ConvertFilter}, {"center", CenterFilter},       {"format", FormatFilter},
    {"indent", IndentFilter},      {"join", JoinFilter},           {"lower", ConvertFilter},
    {"replace", ReplaceFilter},    {"string", StringFilter},       {"title", TitleFilter},
    {"tojson", ToJsonFilter},      {"trim", TrimFilter},           {"truncate", TruncateFilter},
    {"upper", ConvertFilter},      {"wordcount", WordCountFilter}, {"wordwrap", WordWrapFilter},
};

}  // namespace tradewind::engine::prompt
