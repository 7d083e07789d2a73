// Value -> JSON text, as json.dumps writes it (the `tojson` of chat templates).
#include <cmath>
#include <numeric>

#include "engine/prompt/format.h"
#include "engine/prompt/operators.h"

namespace tradewind::engine::prompt {
namespace {

class JsonWriter {
 public:
  JsonWriter(Run& run, const JsonStyle& style) : run_(run), style_(style), out_(&run.budget) {}

  Status Write(const Value& value, int level) {
    run_.budget.SpendCopy(64);
    TW_RETURN_IF_ERROR(run_.Check());
    switch (value.kind()) {
      case Kind::kNone:
        Put("null", value);
        return {};
      case Kind::kBool:
        Put(value.boolean() ? "true" : "false", value);
        return {};
      case Kind::kInt:
        Put(fmt::format("{}", value.integer()), value);
        return {};
      case Kind::kBigInt:
        Put(value.as<BigInt>().digits, value);
        return {};
      case Kind::kFloat:
        Put(Real(value.real()), value);
        return {};
      case Kind::kString:
        WriteString(value.text());
        return {};
      case Kind::kList:
      case Kind::kTuple:
        return WriteList(value.list().items, level);
      case Kind::kDict:
        return WriteDict(value.dict(), level);
      default:
        return RunError("a value of type {} cannot be written as JSON", TypeName(value));
    }
  }

  Value Finish() { return out_.FinishWhole(); }

 private:
  void Put(std::string_view text, const Value& source) { out_.Append(text, !source.from_data()); }

  static std::string Real(double value) {
    return std::isnan(value)   ? "NaN"
           : std::isinf(value) ? (value < 0 ? "-Infinity" : "Infinity")
                               : FloatRepr(value);
  }

  void WriteString(const Text& text) {
    run_.budget.SpendConversion(static_cast<int64_t>(text.size()));
    std::string json = "\"";
    ForEachChar(text.view(), [&](size_t at, size_t bytes, char32_t c) {
      if (c == '"' || c == '\\') {
        json += {'\\', static_cast<char>(c)};
      } else if (c >= 0x20 && (c < 0x7F || !style_.ensure_ascii)) {
        json += text.view().substr(at, bytes);
      } else {
        AppendEscape(c, json);
      }
    });
    json += '"';
    out_.Append(json, !text.any_data());
  }

  static void AppendEscape(char32_t c, std::string& json) {
    switch (c) {
      case '\n':
        json += "\\n";
        return;
      case '\r':
        json += "\\r";
        return;
      case '\t':
        json += "\\t";
        return;
      case '\b':
        json += "\\b";
        return;
      case '\f':
        json += "\\f";
        return;
      case 0x7F:
        json += '\x7F';
        return;
      default:
        break;
    }
    if (c < 0x10000) {
      json += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      const uint32_t offset = static_cast<uint32_t>(c) - 0x10000;
      json += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (offset >> 10), 0xDC00 + (offset & 0x3FF));
    }
  }

  void NewLine(int level) {
    if (style_.indent) {
      out_.Append("\n", true);
      for (int i = 0; i < level; ++i) {
        out_.Append(*style_.indent, style_.literal);
      }
    }
  }

  Status WriteList(const std::vector<Value>& items, int level) {
    if (items.empty()) {
      out_.Append("[]", true);
      return {};
    }
    out_.Append("[", true);
    for (size_t i = 0; i < items.size(); ++i) {
      out_.Append(i > 0 ? std::string_view(style_.item_separator) : "", style_.literal);
      NewLine(level + 1);
      TW_RETURN_IF_ERROR(Write(items[i], level + 1));
    }
    NewLine(level);
    out_.Append("]", true);
    return {};
  }

  // A key that is not a string is written as the string of its JSON.
  Status WriteKey(const Value& key) {
    switch (key.kind()) {
      case Kind::kString:
        WriteString(key.text());
        return {};
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kBigInt:
      case Kind::kFloat:
        out_.Append("\"", true);
        TW_RETURN_IF_ERROR(Write(key, 0));
        out_.Append("\"", true);
        return {};
      default:
        return RunError("keys must be str, int, float, bool or None, not {}", TypeName(key));
    }
  }

  Status WriteDict(const Dict& dict, int level) {
    if (dict.items.empty()) {
      out_.Append("{}", true);
      return {};
    }
    std::vector<size_t> order(dict.items.size());
    std::iota(order.begin(), order.end(), size_t{0});
    if (style_.sort_keys) {
      std::vector<Value> keys;
      for (const auto& [key, value] : dict.items) {
        keys.push_back(key);
      }
      TW_ASSIGN_OR_RETURN(order, SortedOrder(run_, keys, false));
    }
    out_.Append("{", true);
    for (size_t i = 0; i < order.size(); ++i) {
      out_.Append(i > 0 ? std::string_view(style_.item_separator) : "", style_.literal);
      NewLine(level + 1);
      const auto& [key, value] = dict.items[order[i]];
      TW_RETURN_IF_ERROR(WriteKey(key));
      out_.Append(style_.key_separator, style_.literal);
      TW_RETURN_IF_ERROR(Write(value, level + 1));
    }
    NewLine(level);
    out_.Append("}", true);
    return {};
  }

  Run& run_;
  const JsonStyle& style_;
  TextBuilder out_;
};

}  // namespace

ValueResult ToJson(Run& run, const Value& value, const JsonStyle& style) {
  JsonWriter writer(run, style);
  TW_RETURN_IF_ERROR(writer.Write(value, 0));
  return writer.Finish();
}

}  // namespace tradewind::engine::prompt
