// Filters for HTML, URLs and the rare rest. Their results are data as a whole if any input was.
#include <algorithm>

#include "engine/prompt/access.h"
#include "engine/prompt/filters.h"
#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

ValueResult EscapeFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  return Escape(run, name == "forceescape" ? ToStr(run, subject) : subject);
}

ValueResult SafeFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  TextBuilder out(&run.budget);
  AppendStr(run, subject, out);
  return out.Finish(true);
}

std::string DecodeEntities(std::string_view text) {
  static constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
      {"&amp;", "&"}, {"&lt;", "<"},   {"&gt;", ">"},
      {"&#39;", "'"}, {"&#34;", "\""}, {"&quot;", "\""}};
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto* found = std::ranges::find_if(
        kEntities, [&](const auto& e) { return text.substr(i).starts_with(e.first); });
    if (found == std::end(kEntities)) {
      out += text[i++];
    } else {
      out += found->second;
      i += found->first.size();
    }
  }
  return out;
}

void EraseBetween(std::string& text, std::string_view open, std::string_view close) {
  std::string kept;
  size_t at = 0;
  while (true) {
    const size_t begin = text.find(open, at);
    const size_t end = begin == std::string::npos ? begin : text.find(close, begin);
    if (end == std::string::npos) {
      break;
    }
    kept.append(text, at, begin - at);
    at = end + close.size();
  }
  text = kept + text.substr(at);
}

ValueResult StripTagsFilter(Run& run, std::string_view name, const Value& subject,
                            const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  const Value source = ToStr(run, subject);
  if (!run.budget.SpendConversion(static_cast<int64_t>(source.text().size())) ||
      !run.budget.Fits(static_cast<int64_t>(source.text().size() * 3))) {
    return Value();
  }
  std::string text(source.text().view());
  EraseBetween(text, "<!--", "-->");
  EraseBetween(text, "<", ">");
  std::string joined;  // runs of white space become one space
  bool pending = false;
  ForEachChar(text, [&](size_t at, size_t bytes, char32_t c) {
    if (IsSpace(c)) {
      pending = true;
      return;
    }
    joined += pending && !joined.empty() ? " " : "";
    pending = false;
    joined.append(text, at, bytes);
  });
  return run.TextOf(DecodeEntities(joined), !source.text().any_data());
}

std::string PercentEncode(std::string_view text, bool for_query) {
  static constexpr std::string_view kPlain =
      "_.-~ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::string out;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos || (c == '/' && !for_query)) {
      out += c;
    } else if (c == ' ' && for_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

ValueResult UrlEncodeFilter(Run& run, std::string_view name, const Value& subject,
                            const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  TextBuilder out(&run.budget);
  const auto encode = [&](const Value& part, bool for_query) {
    const Value text = ToStr(run, part);
    if (run.budget.SpendConversion(static_cast<int64_t>(text.text().size())) &&
        run.budget.Fits(static_cast<int64_t>(text.text().size() * 3))) {
      out.Append(PercentEncode(text.text().view(), for_query), !text.text().any_data());
    }
  };
  if (subject.is_string() || !IsIterable(subject)) {
    encode(subject, false);
    return out.FinishWhole();
  }
  Value pairs = subject;
  if (subject.is(Kind::kDict)) {
    pairs = Value(Kind::kDictView,
                  std::make_shared<DictView>(&run.budget, subject, DictView::Part::kItems));
  }
  TW_ASSIGN_OR_RETURN(const std::vector<Value> items, ToVector(run, pairs));
  for (size_t i = 0; i < items.size() && run.budget.ok(); ++i) {
    TW_ASSIGN_OR_RETURN(const std::vector<Value> pair, ToVector(run, items[i]));
    if (pair.size() != 2) {
      return RunError("urlencode() needs pairs");
    }
    out.Append(i > 0 ? "&" : "", true);
    encode(pair[0], true);
    out.Append("=", true);
    encode(pair[1], true);
  }
  return out.FinishWhole();
}

ValueResult XmlAttrFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound bound, Bind(name, args, {"autospace"}));
  if (!subject.is(Kind::kDict)) {
    return RunError("xmlattr() needs a dict, not {}", TypeName(subject));
  }
  TextBuilder out(&run.budget);
  for (const auto& [key, value] : subject.dict().items) {
    if (value.is(Kind::kNone) || value.is_undefined()) {
      continue;
    }
    if (!key.is_string() ||
        key.text().view().find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos) {
      return RunError("xmlattr() needs keys that are names");
    }
    if (out.size() > 0 || bound.Bool(0, true)) {
      out.Append(" ", true);
    }
    out.Append(Escape(run, key).text());
    out.Append("=\"", true);
    out.Append(Escape(run, value).text());
    out.Append("\"", true);
  }
  return out.FinishWhole();
}

// pprint breaks long values over lines in its own way; only those that fit one line are the same as
// repr.
ValueResult PprintFilter(Run& run, std::string_view name, const Value& subject, const Args& args) {
  TW_ASSIGN_OR_RETURN(const Bound none, Bind(name, args, {}));
  TextBuilder out(&run.budget);
  AppendRepr(run, subject, out);
  if (out.size() > 80 || (subject.is(Kind::kDict) && subject.dict().items.size() > 1)) {
    return RunError(
        "pprint is supported for values that fit into one line of 80 characters, and not for "
        "dicts");
  }
  return out.FinishWhole();
}

ValueResult UnsupportedFilter(Run&, std::string_view name, const Value&, const Args&) {
  return RunError("the filter '{}' is not supported", name);
}

}  // namespace

const std::initializer_list<FilterEntry> kMarkupFilters = {
    {"e", EscapeFilter},
    {"escape", EscapeFilter},
    {"forceescape", EscapeFilter},
    {"pprint", PprintFilter},
    {"random", UnsupportedFilter},
    {"safe", SafeFilter},
    {"striptags", StripTagsFilter},
    {"urlencode", UrlEncodeFilter},
    {"urlize", UnsupportedFilter},
    {"xmlattr", XmlAttrFilter},
};

}  // namespace tradewind::engine::prompt
