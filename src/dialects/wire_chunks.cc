// A whole answer in the form of a stream.
#include <algorithm>
#include <array>
#include <simdjson.h>
#include <string>
#include <string_view>
#include <vector>

#include "dialects/json_writer.h"
#include "dialects/wire_answer.h"

namespace tradewind::dialects {
namespace {

namespace dom = simdjson::dom;

// Of a message's calls; each says its place in a stream.
void WriteCalls(const dom::array& calls, JsonWriter& out) {
  int64_t place = 0;
  out.BeginArray();
  for (const dom::element call : calls) {
    dom::object fields;
    if (call.get(fields) != simdjson::SUCCESS) {
      continue;
    }
    out.BeginObject().Field("index", place++);
    for (const dom::key_value_pair& field : fields) {
      if (field.key != "index") {
        out.Key(field.key).Raw(simdjson::minify(field.value));
      }
    }
    out.EndObject();
  }
  out.EndArray();
}

void WriteDelta(const dom::element& message, JsonWriter& out) {
  dom::object fields;
  dom::array calls;
  out.BeginObject();
  if (message.get(fields) == simdjson::SUCCESS) {
    for (const dom::key_value_pair& field : fields) {
      out.Key(field.key);
      if (field.key == "tool_calls" && field.value.get(calls) == simdjson::SUCCESS) {
        WriteCalls(calls, out);
      } else {
        out.Raw(simdjson::minify(field.value));
      }
    }
  }
  out.EndObject();
}

bool HasCalls(const dom::object& choice) {
  dom::element message;
  dom::array calls;
  dom::object call;
  return choice["message"].get(message) == simdjson::SUCCESS &&
         ((message["tool_calls"].get(calls) == simdjson::SUCCESS && calls.size() > 0) ||
          message["function_call"].get(call) == simdjson::SUCCESS);
}

// It has ended, whether it says so or not.
void WriteChoice(const dom::object& choice, int64_t place, JsonWriter& out) {
  std::string_view reason;
  static_cast<void>(choice["index"].get(place));
  static_cast<void>(choice["finish_reason"].get(reason));
  out.BeginObject().Field("index", place);
  for (const dom::key_value_pair& field : choice) {
    if (field.key == "message") {
      out.Key("delta");
      WriteDelta(field.value, out);
    } else if (field.key != "index" && field.key != "finish_reason") {
      out.Key(field.key).Raw(simdjson::minify(field.value));
    }
  }
  if (reason.empty()) {
    reason = HasCalls(choice) ? "tool_calls" : "stop";
  }
  out.Field("finish_reason", reason).EndObject();
}

void WriteChoices(const dom::element& choices, JsonWriter& out) {
  dom::array items;
  int64_t place = 0;
  out.BeginArray();
  if (choices.get(items) == simdjson::SUCCESS) {
    for (const dom::element item : items) {
      dom::object choice;
      if (item.get(choice) == simdjson::SUCCESS) {
        WriteChoice(choice, place++, out);
      }
    }
  }
  out.EndArray();
}

// What names an answer stands in each of its chunks.
constexpr std::array<std::string_view, 5> kNames = {"id", "created", "model", "system_fingerprint",
                                                    "service_tier"};

void WriteObject(const dom::element& value, JsonWriter& out) {
  std::string_view object;
  static_cast<void>(value.get(object));
  out.Field("object", object == "chat.completion" ? "chat.completion.chunk" : object);
}

}  // namespace

std::vector<std::string> ChunksOf(std::string_view whole) {
  dom::parser parser;
  dom::object root;
  if (parser.parse(whole.data(), whole.size()).get(root) != simdjson::SUCCESS) {
    return {};
  }
  JsonWriter answer, end;
  answer.BeginObject();
  end.BeginObject().Key("choices").BeginArray().EndArray();
  bool has_usage = false;
  for (const dom::key_value_pair& field : root) {
    if (field.key == "choices") {
      answer.Key("choices");
      WriteChoices(field.value, answer);
    } else if (field.key == "usage") {
      has_usage = !field.value.is_null();
      end.Key("usage").Raw(simdjson::minify(field.value));
    } else if (field.key == "object") {
      WriteObject(field.value, answer);
      WriteObject(field.value, end);
    } else {
      answer.Key(field.key).Raw(simdjson::minify(field.value));
      if (std::ranges::find(kNames, field.key) != kNames.end()) {
        end.Key(field.key).Raw(simdjson::minify(field.value));
      }
    }
  }
  answer.EndObject();
  end.EndObject();
  std::vector<std::string> chunks = {answer.Take()};
  if (has_usage) {
    chunks.push_back(end.Take());
  }
  return chunks;
}

}  // namespace tradewind::dialects
