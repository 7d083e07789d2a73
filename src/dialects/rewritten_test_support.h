// For tests of what templates write: the slow twin that writes it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

namespace tradewind::dialects::testing {

namespace json = boost::json;

inline int64_t Bytes(std::string_view text) {
  return static_cast<int64_t>(text.size());
}

// What Python's json.dumps writes, and Jinja's filter makes of it.
struct Style {
  bool is_indented, is_ascii, is_html;
};

inline void WriteString(std::string_view text, const Style& style, std::string& out) {
  out += '"';
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool is_escaped = (style.is_html && std::string_view("<>&'").contains(text[i])) ||
                            (style.is_ascii && c == 0x7F);
    if (c == '"' || c == '\\') {
      out += {'\\', text[i]};
    } else if (is_escaped || (c < 0x20 && !std::string_view("\b\f\n\r\t").contains(text[i]))) {
      out += "\\u00zz";
    } else if (c < 0x20) {
      out += "\\n";
    } else if (style.is_ascii && c >= 0x80) {
      out += c >= 0xF0 ? "\\ud8zz\\udczz" : c >= 0xC0 ? "\\uzzzz" : "";
    } else {
      out += text[i];
    }
  }
  out += '"';
}

inline void Write(const json::value& value, const Style& style, int64_t depth, std::string& out) {
  const auto line = [&](int64_t at) {
    if (style.is_indented) {
      out += '\n' + std::string(static_cast<size_t>(4 * at), ' ');
    }
  };
  const auto members = [&](const auto& all, char open, char close, const auto& member) {
    out += open;
    bool is_first = true;
    for (const auto& one : all) {
      out += is_first ? "" : style.is_indented ? "," : ", ";
      is_first = false;
      line(depth + 1);
      member(one);
    }
    if (!is_first) {
      line(depth);
    }
    out += close;
  };
  if (const json::object* object = value.if_object(); object != nullptr) {
    members(*object, '{', '}', [&](const auto& one) {
      WriteString(std::string_view(one.key()), style, out);
      out += ": ";
      Write(one.value(), style, depth + 1, out);
    });
  } else if (const json::array* array = value.if_array(); array != nullptr) {
    members(*array, '[', ']', [&](const json::value& one) { Write(one, style, depth + 1, out); });
  } else if (value.is_string()) {
    WriteString(std::string_view(value.get_string()), style, out);
  } else {
    out += json::serialize(value);
  }
}

inline int64_t MostWritten(const json::value& value) {
  int64_t most = 0;
  for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7}) {
    std::string out;
    Write(value, {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0}, 0, out);
    most = std::max(most, Bytes(out));
  }
  return most;
}

}  // namespace tradewind::dialects::testing
