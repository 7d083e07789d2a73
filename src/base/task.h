// Task<T>: a lazily started coroutine on the event loop. The only Asio header outside http/ (1.5 s
// to compile).
#pragma once

#include <boost/asio/awaitable.hpp>

namespace tradewind {

template <class T = void>
using Task = boost::asio::awaitable<T>;

}  // namespace tradewind
