// Renders templates for tests that compare with another implementation: JSON lines {"template",
// "messages", "tools", "extra", "add_generation_prompt", "bos_token", "eos_token", "now"} on stdin,
// one line {"output", "literal_ranges"} or
// {"error"} on stdout for each. `now`: the time in seconds since 1970.
#include <iostream>
#include <string>

#include <boost/json.hpp>

#include "engine/prompt/chat_template.h"

namespace {

namespace json = boost::json;

std::string Field(const json::object& request, std::string_view name) {
  const json::value* value = request.if_contains(name);
  return value == nullptr || value->is_null() ? "" : json::serialize(*value);
}

std::string Text(const json::object& request, std::string_view name) {
  const json::value* value = request.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

json::object Render(const json::object& request) {
  tradewind::FakeClock clock;
  if (const json::value* now = request.if_contains("now"); now != nullptr && now->is_int64()) {
    clock.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(now->get_int64())));
  }
  auto parsed = tradewind::engine::ChatTemplate::Parse(
      Text(request, "template"), Text(request, "bos_token"), Text(request, "eos_token"));
  if (!parsed.has_value()) {
    return {{"error", parsed.error().message}, {"phase", "compile"}};
  }
  const json::value* generate = request.if_contains("add_generation_prompt");
  auto rendered =
      parsed->Render({Field(request, "messages"), Field(request, "tools"), Field(request, "extra"),
                      generate != nullptr && generate->is_bool() && generate->get_bool()},
                     clock);
  if (!rendered.has_value()) {
    return {{"error", rendered.error().message}, {"phase", "render"}};
  }
  json::array ranges;
  for (const auto& range : rendered->literal_ranges) {
    ranges.push_back(json::array{range.begin, range.end});
  }
  return {{"output", rendered->text}, {"literal_ranges", std::move(ranges)}};
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    boost::system::error_code error;
    const json::value request = json::parse(line, error);
    if (error || !request.is_object()) {
      std::cerr << "template_render: a line is not a JSON object\n";
      return 2;
    }
    std::cout << json::serialize(Render(request.get_object())) << std::endl;
  }
  return 0;
}
