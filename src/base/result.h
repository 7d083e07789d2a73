// Result<T>: a value or an Error. libstdc++ 12's std::expected has no monadic members, hence the
// two macros.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "base/error.h"

namespace tradewind {

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> Fail(ErrorCode code, std::string message, std::string param = {}) {
  return std::unexpected<Error>(Error{code, std::move(message), std::move(param), {}});
}
inline std::unexpected<Error> Fail(Error error) {
  return std::unexpected<Error>(std::move(error));
}

}  // namespace tradewind

#define TW_CONCAT_INNER(a, b) a##b
#define TW_CONCAT(a, b) TW_CONCAT_INNER(a, b)

// TW_ASSIGN_OR_RETURN(auto file, GgufFile::Open(path));  returns the Error from the enclosing
// function.
#define TW_ASSIGN_OR_RETURN(declaration, expression) \
  TW_ASSIGN_OR_RETURN_IMPL(TW_CONCAT(tw_result_, __LINE__), declaration, expression)
#define TW_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                     \
  if (!result.has_value())                                        \
    return std::unexpected(std::move(result).error());            \
  declaration = std::move(result).value()

#define TW_RETURN_IF_ERROR(expression)                           \
  do {                                                           \
    if (auto tw_status = (expression); !tw_status.has_value()) { \
      return std::unexpected(std::move(tw_status).error());      \
    }                                                            \
  } while (false)

// The same inside a coroutine.
#define TW_CO_ASSIGN_OR_RETURN(declaration, expression) \
  TW_CO_ASSIGN_OR_RETURN_IMPL(TW_CONCAT(tw_result_, __LINE__), declaration, expression)
#define TW_CO_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                        \
  if (!result.has_value())                                           \
    co_return std::unexpected(std::move(result).error());            \
  declaration = std::move(result).value()

#define TW_CO_RETURN_IF_ERROR(expression)                        \
  do {                                                           \
    if (auto tw_status = (expression); !tw_status.has_value()) { \
      co_return std::unexpected(std::move(tw_status).error());   \
    }                                                            \
  } while (false)
