// Template source, a NUL byte, then JSON of the messages: parsed and rendered under small bounds.
// Beside not crashing it checks that literal ranges are sorted, disjoint and inside the text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "engine/prompt/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tradewind::engine::ChatTemplate;
  static constexpr tradewind::engine::prompt::TemplateLimits kBounds = {.steps_max = 20'000,
                                                                        .bytes_max = 4 << 20,
                                                                        .output_bytes_max = 1 << 20,
                                                                        .depth_max = 64,
                                                                        .run_depth_max = 150};
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t cut = input.find('\0');
  const std::string_view source = input.substr(0, cut);
  const std::string_view messages = cut == std::string_view::npos ? "" : input.substr(cut + 1);

  auto parsed = ChatTemplate::Parse(source, "<s>", "</s>", kBounds);
  if (!parsed.has_value()) {
    return 0;
  }
  const std::string with_default(messages.empty() ? R"([{"role":"user","content":"<|x|> é 1"}])"
                                                  : messages);
  const auto rendered = parsed->Render(
      {with_default, "", R"({"n": 3, "l": [1, "b", null, 2.5], "d": {"k": "v"}})", true},
      tradewind::FakeClock());
  if (rendered.has_value()) {
    size_t end = 0;
    for (const auto& range : rendered->literal_ranges) {
      TW_CHECK((range.begin > end || end == 0) && range.begin < range.end &&
               range.end <= rendered->text.size());
      end = range.end;
    }
  }
  return 0;
}
