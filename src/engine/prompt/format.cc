#include "engine/prompt/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/prompt/operators.h"
#include "engine/prompt/unicode.h"

namespace tradewind::engine::prompt {
namespace {

std::string ScalarText(const Value& value) {
  switch (value.kind()) {
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return value.boolean() ? "True" : "False";
    case Kind::kInt:
      return fmt::format("{}", value.integer());
    case Kind::kBigInt:
      return value.as<BigInt>().digits;
    case Kind::kFloat:
      return FloatRepr(value.real());
    case Kind::kUndefined:
      return "";
    case Kind::kRange: {
      const auto& range = value.as<Range>();
      return range.step == 1
                 ? fmt::format("range({}, {})", range.start, range.stop)
                 : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
    }
    case Kind::kIterator:
      return fmt::format("<{} object>", value.as<Iterator>().type);
    case Kind::kMethod:
      return fmt::format("<built-in method {} of {} object>", value.as<Method>().name,
                         TypeName(value.as<Method>().self));
    default:
      return fmt::format("<{}>", TypeName(value));
  }
}

bool IsFromData(const Value& scalar) {
  return scalar.from_data() || (scalar.is(Kind::kRange) && scalar.as<Range>().from_data);
}

void AppendEscapedChar(char32_t c, const Text& text, size_t at, size_t bytes, TextBuilder& out) {
  const auto instead = [&](std::string_view escaped) {
    out.AppendInstead(escaped, text, at, at + bytes);
  };
  if (c == '\n') {
    instead("\\n");
  } else if (c == '\r') {
    instead("\\r");
  } else if (c == '\t') {
    instead("\\t");
  } else if (c < 0x100) {
    instead(fmt::format("\\x{:02x}", static_cast<uint32_t>(c)));
  } else if (c < 0x10000) {
    instead(fmt::format("\\u{:04x}", static_cast<uint32_t>(c)));
  } else {
    instead(fmt::format("\\U{:08x}", static_cast<uint32_t>(c)));
  }
}

void AppendQuoted(Run& run, const Text& text, TextBuilder& out) {
  const bool has_single = text.view().find('\'') != std::string_view::npos;
  const char quote = has_single && text.view().find('"') == std::string_view::npos ? '"' : '\'';
  run.budget.SpendConversion(static_cast<int64_t>(text.size()));
  out.Append(quote, !text.any_data());
  ForEachChar(text.view(), [&](size_t at, size_t bytes, char32_t c) {
    if (c == static_cast<unsigned char>(quote) || c == '\\') {
      out.AppendInstead(std::string{'\\', static_cast<char>(c)}, text, at, at + bytes);
    } else if (IsPrintable(c)) {
      out.Append(text, at, at + bytes);
    } else {
      AppendEscapedChar(c, text, at, bytes, out);
    }
  });
  out.Append(quote, !text.any_data());
}

void AppendBytes(const Text& bytes, TextBuilder& out) {
  std::string text = "b'";
  for (const char c : bytes.view()) {
    if (c == '\\' || c == '\'') {
      text += {'\\', c};
    } else if (c == '\n' || c == '\r' || c == '\t') {
      text += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    } else if (c >= 0x20 && c < 0x7F) {
      text += c;
    } else {
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  out.Append(text + "'", !bytes.any_data());
}

void AppendItems(Run& run, const std::vector<Value>& items, std::string_view open,
                 std::string_view close, TextBuilder& out) {
  out.Append(open, true);
  for (size_t i = 0; i < items.size() && run.budget.ok(); ++i) {
    if (i > 0) {
      out.Append(", ", true);
    }
    AppendRepr(run, items[i], out);
  }
  out.Append(close, true);
}

void AppendDict(Run& run, const Dict& dict, TextBuilder& out) {
  out.Append("{", true);
  bool first = true;
  for (const auto& [key, value] : dict.items) {
    if (!run.budget.ok()) {
      return;
    }
    out.Append(first ? "" : ", ", true);
    first = false;
    AppendRepr(run, key, out);
    out.Append(": ", true);
    AppendRepr(run, value, out);
  }
  out.Append("}", true);
}

void AppendNamespace(Run& run, const Namespace& space, TextBuilder& out) {
  if (run.printing_namespace) {  // a namespace may hold itself, however deep
    return out.Append("<Namespace>", true);
  }
  run.printing_namespace = true;
  out.Append("<Namespace {", true);
  bool first = true;
  for (const auto& [name, item] : space.attributes) {
    out.Append(fmt::format("{}'{}': ", first ? "" : ", ", name), false);  // the names may be data
    first = false;
    AppendRepr(run, item, out);
  }
  out.Append("}>", true);
  run.printing_namespace = false;
}

}  // namespace

void AppendRepr(Run& run, const Value& value, TextBuilder& out) {
  if (!run.budget.SpendCopy(64)) {
    return;
  }
  switch (value.kind()) {
    case Kind::kUndefined:
      return out.Append("Undefined", true);
    case Kind::kString:
      if (value.text().markup()) {
        out.Append("Markup(", true);
        AppendQuoted(run, value.text(), out);
        return out.Append(")", true);
      }
      return AppendQuoted(run, value.text(), out);
    case Kind::kBytes:
      return AppendBytes(value.text(), out);
    case Kind::kList:
      return AppendItems(run, value.list().items, "[", "]", out);
    case Kind::kTuple:
      return AppendItems(run, value.list().items, "(", value.list().items.size() == 1 ? ",)" : ")",
                         out);
    case Kind::kDict:
      return AppendDict(run, value.dict(), out);
    case Kind::kDictView: {
      const auto& view = value.as<DictView>();
      std::vector<Value> items;
      Iterator each(&run.budget, value, "iterator");
      for (Value item; each.Next(item) && run.budget.ok();) {
        items.push_back(std::move(item));
      }
      const bool literal = view.dict.dict().items.empty();
      out.Append(fmt::format("{}(", TypeName(value)), literal);
      AppendItems(run, items, "[", "])", out);
      return;
    }
    case Kind::kNamespace:
      return AppendNamespace(run, value.as<Namespace>(), out);
    default:
      return out.Append(ScalarText(value), !IsFromData(value));
  }
}

void AppendStr(Run& run, const Value& value, TextBuilder& out) {
  switch (value.kind()) {
    case Kind::kString:
      return out.Append(value.text());
    case Kind::kUndefined:
      return;
    case Kind::kBytes:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kDictView:
    case Kind::kNamespace: {
      TextBuilder whole(&run.budget);
      AppendRepr(run, value, whole);
      return out.Append(whole.FinishWhole().text());
    }
    default:
      return out.Append(ScalarText(value), !IsFromData(value));
  }
}

Value ToStr(Run& run, const Value& value) {
  if (value.is_string() && !value.text().markup()) {
    return value;
  }
  TextBuilder out(&run.budget);
  AppendStr(run, value, out);
  return out.Finish();
}

Value SoftStr(Run& run, const Value& value) {
  return value.is_string() ? value : ToStr(run, value);
}

std::string ReprString(Run& run, const Value& value) {
  TextBuilder out(&run.budget);
  AppendRepr(run, value, out);
  std::string text = out.TakeBytes();
  if (text.size() > 200) {
    text.resize(CompleteUtf8Prefix(std::string_view(text).substr(0, 200)));
    text += "...";
  }
  return text;
}

Value Escape(Run& run, const Value& value) {
  if (value.is_string() && value.text().markup()) {
    return value;
  }
  const Value plain = ToStr(run, value);
  const Text& text = plain.text();
  TextBuilder out(&run.budget);
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.view()[i];
    const std::string_view entity = c == '&'    ? "&amp;"
                                    : c == '<'  ? "&lt;"
                                    : c == '>'  ? "&gt;"
                                    : c == '\'' ? "&#39;"
                                    : c == '"'  ? "&#34;"
                                                : "";
    if (!entity.empty()) {
      out.Append(text, done, i);
      out.AppendInstead(entity, text, i, i + 1);
      done = i + 1;
    }
  }
  out.Append(text, done, text.size());
  return out.Finish(true);
}

std::string FloatRepr(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value < 0 ? "-inf" : "inf";
  }
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer, static_cast<size_t>(end - buffer));
  const size_t e = shortest.find('e');
  int exponent = 0;
  const size_t sign = shortest[e + 1] == '+' ? 2 : 1;
  std::from_chars(shortest.data() + e + sign, shortest.data() + shortest.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    return std::string(shortest);  // both write at least two digits of exponent
  }
  char fixed[400];
  const auto fixed_end =
      std::to_chars(fixed, fixed + sizeof fixed, value, std::chars_format::fixed).ptr;
  std::string text(fixed, static_cast<size_t>(fixed_end - fixed));
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

}  // namespace tradewind::engine::prompt
