// Reply shapes as data: a JSON value whose strings "$slot" stand for JSON that is filled in, and
// whose strings may hold "${slot}" for its text. A member whose key ends in '?' disappears when the
// first slot in it is empty; it is never the first of its object. Compiled once, rendered by
// concatenation.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

namespace provider_sim {

enum class Slot : uint8_t {
  kId,
  kUuid,
  kHex32,
  kRay,
  kCreated,
  kCreatedFloat,
  kModel,
  kIndex,
  kContent,
  kReasoning,
  kToolCalls,
  kFinish,
  kLogprobs,
  kUsage,
  kSeed,
  kTokenId,
  kChoices,
  kData,
  kPromptTokens,
  kCompletionTokens,
  kTotalTokens,
  kCachedTokens,
  kReasoningTokens,
  kMaxTokens,
  kMessage,
  kParam,
  kContext,
  kPriceIn,
  kPriceOut,
  kPriceInUnits,
  kPriceOutUnits,
  kOwnedBy,
  kProviders,
  kServedBy,
  kRetryAfter,
  kType,
  kCode,
  kCachedTold,
  kToolCallsOrNone,
  kKind,
  kCost,
  kUpstreamCost,
  kCount,
};

// JSON fragments by slot; an empty one is absent. Holds views: whoever sets them keeps them alive.
class Values {
 public:
  void Set(Slot slot, std::string_view fragment) {
    fragments_[static_cast<size_t>(slot)] = fragment;
  }
  std::string_view Get(Slot slot) const { return fragments_[static_cast<size_t>(slot)]; }

 private:
  std::array<std::string_view, static_cast<size_t>(Slot::kCount)> fragments_{};
};

enum class Style : uint8_t {
  kCompact,
  kSpaced,
  kPretty
};  // {"a":1}; {"a": 1}; over lines, two spaces deep

class Template {
 public:
  Template() = default;
  // Throws std::runtime_error naming an unknown slot.
  explicit Template(const boost::json::value& shape, Style style = Style::kCompact);
  static Template OfText(std::string_view text);  // "${slot}" in plain text: headers, ids

  bool empty() const { return parts_.empty(); }
  void Render(const Values& values, std::string& out) const;
  std::string Render(const Values& values) const;

 private:
  enum class Kind : uint8_t { kLiteral, kFragment, kText, kOptional };
  struct Part {
    Kind kind = Kind::kLiteral;
    Slot slot = Slot::kCount;
    std::string literal;
    std::vector<Part> inner;  // of kOptional: the whole member, with the comma before it
  };

  static void RenderParts(const std::vector<Part>& parts, const Values& values, std::string& out);
  void Literal(std::string_view text);
  void Add(const boost::json::value& value, Style style, size_t depth);
  void AddOptional(std::string_view name, const std::string& before,
                   const boost::json::value& value, Style style, size_t depth);
  void AddObject(const boost::json::object& object, Style style, size_t depth);
  void AddArray(const boost::json::array& array, Style style, size_t depth);
  void AddText(std::string_view text, bool in_json);

  std::vector<Part> parts_;
};

void AppendJsonString(std::string_view text, std::string& out);
std::string JsonString(std::string_view text);

}  // namespace provider_sim
