#include "provider_sim/server.h"

#include <csignal>
#include <cstdio>
#include <optional>
#include <thread>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/ssl/context.hpp>

#include "provider_sim/connection.h"

namespace provider_sim {
namespace {

using Tcp = asio::ip::tcp;

template <class Stream>
asio::awaitable<void> RunConnection(Stream stream, Sim& sim) {
  Connection<Stream> connection(std::move(stream), sim);
  co_await connection.Run();
}

class Loops {
 public:
  explicit Loops(int threads) {
    for (int i = 0; i < threads; ++i) {
      contexts_.push_back(std::make_unique<asio::io_context>(1));
      guards_.push_back(asio::make_work_guard(*contexts_.back()));
    }
  }

  asio::io_context& first() { return *contexts_.front(); }
  asio::io_context& next() { return *contexts_[turn_++ % contexts_.size()]; }

  void Run() {
    std::vector<std::thread> threads;
    for (size_t i = 1; i < contexts_.size(); ++i) {
      threads.emplace_back([&context = *contexts_[i]] { context.run(); });
    }
    first().run();
    for (std::thread& thread : threads) {
      thread.join();
    }
  }

  void Stop() {
    for (const auto& context : contexts_) {
      context->stop();
    }
  }

 private:
  std::vector<std::unique_ptr<asio::io_context>> contexts_;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> guards_;
  size_t turn_ = 0;
};

asio::awaitable<void> Accept(Tcp::acceptor& acceptor, Loops& loops, Sim& sim,
                             asio::ssl::context* tls) {
  for (;;) {
    asio::io_context& loop = loops.next();
    auto [error, socket] = co_await acceptor.async_accept(loop, kAwait);
    if (error == asio::error::operation_aborted) {
      co_return;
    }
    if (error) {  // out of descriptors: wait for some to come back
      asio::steady_timer timer(acceptor.get_executor(), std::chrono::milliseconds(10));
      co_await timer.async_wait(kAwait);
      continue;
    }
    ++sim.accepted;
    boost::system::error_code ignored;
    if (sim.rules().CloseAccepted()) {
      socket.close(ignored);
      continue;
    }
    socket.set_option(Tcp::no_delay(true), ignored);
    if (tls != nullptr) {
      asio::ssl::stream<Tcp::socket> stream(std::move(socket), *tls);
      asio::co_spawn(loop, RunConnection(std::move(stream), sim), asio::detached);
    } else {
      asio::co_spawn(loop, RunConnection(std::move(socket), sim), asio::detached);
    }
  }
}

}  // namespace

void Serve(Sim& sim, const ServerOptions& options) {
  std::optional<asio::ssl::context> tls;
  if (!options.tls_cert.empty()) {
    tls.emplace(asio::ssl::context::tls_server);
    tls->use_certificate_chain_file(options.tls_cert);
    tls->use_private_key_file(options.tls_key, asio::ssl::context::pem);
  }
  Loops loops(options.threads);
  const Tcp::endpoint at(asio::ip::make_address(options.host), options.port);
  Tcp::acceptor acceptor(loops.first());
  acceptor.open(at.protocol());
  acceptor.set_option(Tcp::acceptor::reuse_address(true));
  acceptor.bind(at);
  acceptor.listen(4096);
  std::printf("listening on %s://%s:%d\n", tls ? "https" : "http", options.host.c_str(),
              acceptor.local_endpoint().port());
  std::fflush(stdout);

  asio::signal_set signals(loops.first(), SIGINT, SIGTERM);
  signals.async_wait([&](const boost::system::error_code&, int) { loops.Stop(); });
  asio::co_spawn(loops.first(), Accept(acceptor, loops, sim, tls ? &*tls : nullptr),
                 asio::detached);
  loops.Run();
}

}  // namespace provider_sim
