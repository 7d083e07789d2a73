// TLS to upstreams: OpenSSL straight on a non-blocking socket, so that an idle stream holds no
// buffers. Certificates and host names are always verified.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

struct ssl_st;

namespace tradewind::http {

// What connections share: trusted authorities and the sessions of hosts seen before. Thread-safe.
class TlsClient : public std::enable_shared_from_this<TlsClient> {
 public:
  // Trusts the system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR; `ca_file` besides,
  // if not empty. Errors: kInvalidArgument (`ca_file` cannot be read), kInternal.
  static Result<std::shared_ptr<TlsClient>> Create(const std::string& ca_file);
  virtual ~TlsClient() = default;

 protected:
  friend class TlsStream;
  // A new SSL for the host with its last session, if any. Null: out of memory.
  virtual ssl_st* NewSsl(const std::string& host, const std::string& authority) = 0;
};

// One connection's TLS. One thread; the socket is the caller's and stays open as long as this.
class TlsStream {
 public:
  enum class Need {
    kNothing,  // done: `bytes` says how much
    kRead,     // call again, with the same arguments, when the socket is readable
    kWrite,    // when it is writable
    kEnd,      // the peer ended the stream, and said so
    kBroken,   // cut, or not TLS
  };
  struct Outcome {
    Need need = Need::kBroken;
    size_t bytes = 0;
  };

  TlsStream(std::shared_ptr<TlsClient> client, int fd, const std::string& host,
            const std::string& authority);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  Need Handshake();
  Outcome Read(char* bytes, size_t size);
  Outcome Peek(char* bytes, size_t size);  // like Read, but the bytes stay
  Outcome Write(const char* bytes, size_t size);
  int64_t written_bytes() const;  // to the socket, handshake included
  void SayGoodbye();              // close_notify, if the socket takes it at once
  bool session_was_reused() const;
  std::string error() const;  // why the handshake failed, in words

 private:
  Outcome Judge(int result, size_t bytes);

  const std::shared_ptr<TlsClient> client_;
  const std::string authority_;  // the session callback reads it
  ssl_st* ssl_ = nullptr;
  std::string error_;
};

}  // namespace tradewind::http
