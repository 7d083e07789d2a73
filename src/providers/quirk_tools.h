// What the files of quirks share.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "dialects/json_text.h"

namespace tradewind::providers {

struct Schema {
  std::string name;    // may be empty
  std::string schema;  // JSON text
  bool strict = false;
  bool is_openai_form = false;  // it was written as OpenAI does, and can pass as it is
};

// The schema of `response_format` in any of the spellings that clients use; nullopt when it names
// none ("text", plain "json_object").
std::optional<Schema> ReadSchema(const dialects::JsonText& request);
// In OpenAI's spelling.
void SetSchema(const Schema& schema, dialects::JsonText& request);

// Calls `edit` with each message; for the few translations that reach into them.
void EditMessages(dialects::JsonText& request, void (*edit)(boost::json::object& message));
// For upstreams that do not know the role "developer".
void UseSystemForDeveloper(dialects::JsonText& request);

}  // namespace tradewind::providers
