// Fields of a server's answer as people read them: what is missing or of another type reads as
// nothing, so that no answer can trip a verb, and no text holds controls that steer a terminal.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

namespace tradewind::cli::reply {

std::string Text(const boost::json::object& object, std::string_view name);  // "" = none
int64_t Number(const boost::json::object& object, std::string_view name);    // 0 = none
bool Flag(const boost::json::object& object, std::string_view name);         // false = none
// Of a field of digits: 250000000 is "$0.25". "unknown" = none, which is never zero.
std::string Dollars(const boost::json::object& object, std::string_view name);

// Empty = none. They live as long as the answer.
const boost::json::object& Object(const boost::json::object& parent, std::string_view name);
const boost::json::array& Array(const boost::json::object& parent, std::string_view name);

}  // namespace tradewind::cli::reply
