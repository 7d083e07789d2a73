#include "provider_sim/json_template.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <boost/json/serialize.hpp>

namespace provider_sim {
namespace {

constexpr std::array<std::string_view, static_cast<size_t>(Slot::kCount)> kSlotNames = {
    "id",
    "uuid",
    "hex32",
    "ray",
    "created",
    "created_float",
    "model",
    "index",
    "content",
    "reasoning",
    "tool_calls",
    "finish",
    "logprobs",
    "usage",
    "seed",
    "token_id",
    "choices",
    "data",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "max_tokens",
    "message",
    "param",
    "context",
    "price_in",
    "price_out",
    "price_in_units",
    "price_out_units",
    "owned_by",
    "providers",
    "served_by",
    "retry_after",
    "type",
    "code",
    "cached_told",
    "tool_calls_or_none",
    "kind",
    "cost",
    "upstream_cost"};

Slot SlotOf(std::string_view name) {
  for (size_t i = 0; i < kSlotNames.size(); ++i) {
    if (kSlotNames[i] == name) {
      return static_cast<Slot>(i);
    }
  }
  throw std::runtime_error("a template names the unknown slot \"" + std::string(name) + "\"");
}

// A fragment inside a string: a JSON string loses its quotes.
std::string_view Text(std::string_view fragment) {
  return fragment.size() >= 2 && fragment.front() == '"' ? fragment.substr(1, fragment.size() - 2)
                                                         : fragment;
}

void NewLine(std::string& out, Style style, size_t depth) {
  if (style == Style::kPretty) {
    out.push_back('\n');
    out.append(2 * depth, ' ');
  }
}

}  // namespace

Template::Template(const boost::json::value& shape, Style style) {
  Add(shape, style, 0);
}

Template Template::OfText(std::string_view text) {
  Template made;
  made.AddText(text, false);
  return made;
}

void Template::Literal(std::string_view text) {
  if (parts_.empty() || parts_.back().kind != Kind::kLiteral) {
    parts_.push_back({});
  }
  parts_.back().literal += text;
}

void Template::Add(const boost::json::value& value, Style style, size_t depth) {
  if (value.is_object()) {
    AddObject(value.get_object(), style, depth);
  } else if (value.is_array()) {
    AddArray(value.get_array(), style, depth);
  } else if (value.is_string() && value.get_string().starts_with("$") &&
             !value.get_string().starts_with("${")) {
    parts_.push_back(
        {Kind::kFragment, SlotOf(std::string_view(value.get_string()).substr(1)), {}, {}});
  } else if (value.is_string()) {
    Literal("\"");
    AddText(value.get_string(), true);
    Literal("\"");
  } else {
    Literal(boost::json::serialize(value));
  }
}

void Template::AddOptional(std::string_view name, const std::string& before,
                           const boost::json::value& value, Style style, size_t depth) {
  Template inner;
  inner.Literal(before);
  inner.Add(value, style, depth);
  const auto is_slot = [](const Part& part) { return part.slot != Slot::kCount; };
  const auto found = std::ranges::find_if(inner.parts_, is_slot);
  if (before.empty() || (before.front() != ',') || found == inner.parts_.end()) {
    throw std::runtime_error("the optional member \"" + std::string(name) +
                             "\" must hold a slot and not be the first of its object");
  }
  parts_.push_back({Kind::kOptional, found->slot, {}, std::move(inner.parts_)});
}

void Template::AddObject(const boost::json::object& object, Style style, size_t depth) {
  Literal("{");
  bool first = true;
  for (const auto& [key, value] : object) {
    std::string before = first ? "" : style == Style::kSpaced ? ", " : ",";
    NewLine(before, style, depth + 1);
    const std::string_view name = key;
    const bool optional = name.ends_with('?');
    AppendJsonString(optional ? name.substr(0, name.size() - 1) : name, before);
    before += style == Style::kCompact ? ":" : ": ";
    if (optional) {
      AddOptional(name, before, value, style, depth + 1);
    } else {
      Literal(before);
      Add(value, style, depth + 1);
    }
    first = false;
  }
  std::string after;
  if (!first) {
    NewLine(after, style, depth);
  }
  Literal(after + "}");
}

void Template::AddArray(const boost::json::array& array, Style style, size_t depth) {
  Literal("[");
  for (size_t i = 0; i < array.size(); ++i) {
    std::string before = i == 0 ? "" : style == Style::kSpaced ? ", " : ",";
    NewLine(before, style, depth + 1);
    Literal(before);
    Add(array[i], style, depth + 1);
  }
  std::string after;
  if (!array.empty()) {
    NewLine(after, style, depth);
  }
  Literal(after + "]");
}

void Template::AddText(std::string_view text, bool in_json) {
  while (!text.empty()) {
    const size_t open = text.find("${");
    const size_t close = open == text.npos ? text.npos : text.find('}', open);
    const std::string_view plain = text.substr(0, close == text.npos ? text.npos : open);
    if (in_json) {
      const std::string quoted = JsonString(plain);
      Literal(Text(quoted));
    } else {
      Literal(plain);
    }
    if (close == text.npos) {
      return;
    }
    parts_.push_back({Kind::kText, SlotOf(text.substr(open + 2, close - open - 2)), {}, {}});
    text.remove_prefix(close + 1);
  }
}

void Template::RenderParts(const std::vector<Part>& parts, const Values& values, std::string& out) {
  for (const Part& part : parts) {
    if (part.kind == Kind::kLiteral) {
      out += part.literal;
      continue;
    }
    const std::string_view fragment = values.Get(part.slot);
    if (part.kind == Kind::kFragment) {
      out += fragment.empty() ? std::string_view("null") : fragment;
    } else if (part.kind == Kind::kText) {
      out += Text(fragment);
    } else if (!fragment.empty()) {
      RenderParts(part.inner, values, out);
    }
  }
}

void Template::Render(const Values& values, std::string& out) const {
  RenderParts(parts_, values, out);
}

std::string Template::Render(const Values& values) const {
  std::string out;
  Render(values, out);
  return out;
}

void AppendJsonString(std::string_view text, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (byte < 0x20) {
      out += "\\u00";
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

std::string JsonString(std::string_view text) {
  std::string out;
  AppendJsonString(text, out);
  return out;
}

}  // namespace provider_sim
