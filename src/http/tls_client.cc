#include "http/tls_client.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "http/address_policy.h"

namespace tradewind::http {
namespace {

// --- A BIO on a socket. OpenSSL's own calls write(), which raises SIGPIPE.

int FdOf(BIO* bio) {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}

int Finish(BIO* bio, ssize_t n, int retry) {
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  }
  return static_cast<int>(n);
}

int BioRead(BIO* bio, char* bytes, int size) {
  return Finish(bio, ::recv(FdOf(bio), bytes, static_cast<size_t>(size), MSG_DONTWAIT),
                BIO_FLAGS_READ);
}

int BioWrite(BIO* bio, const char* bytes, int size) {
  return Finish(bio,
                ::send(FdOf(bio), bytes, static_cast<size_t>(size), MSG_DONTWAIT | MSG_NOSIGNAL),
                BIO_FLAGS_WRITE);
}

long BioControl(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tradewind socket");
    BIO_meth_set_read(made, BioRead);
    BIO_meth_set_write(made, BioWrite);
    BIO_meth_set_ctrl(made, BioControl);
    return made;  // for the whole process
  }();
  return method;
}

std::string LastError() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "the connection was closed" : reason;
}

struct SessionFree {
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using Session = std::unique_ptr<SSL_SESSION, SessionFree>;

class OpenSslClient final : public TlsClient {
 public:
  explicit OpenSslClient(SSL_CTX* context) : context_(context) {}
  ~OpenSslClient() override { SSL_CTX_free(context_); }

  Status Configure(const std::string& ca_file) {
    static constexpr unsigned char kAlpn[] = "\x08http/1.1";
    SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    // Idle streams give their record buffers back; a blocked write may be retried from elsewhere.
    SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context_,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_set_app_data(context_, this);
    SSL_CTX_sess_set_new_cb(context_, KeepSession);
    if (SSL_CTX_set_alpn_protos(context_, kAlpn, sizeof(kAlpn) - 1) != 0 ||
        SSL_CTX_set_default_verify_paths(context_) != 1) {
      return Fail(ErrorCode::kInternal, "cannot set up TLS: " + LastError());
    }
    if (!ca_file.empty() && SSL_CTX_load_verify_file(context_, ca_file.c_str()) != 1) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("cannot read certificates from {}: {}", ca_file, LastError()),
                  "ca_file");
    }
    return {};
  }

 private:
  ssl_st* NewSsl(const std::string& host, const std::string& authority) override {
    SSL* ssl = SSL_new(context_);
    if (ssl == nullptr) {
      return nullptr;
    }
    // SNI carries names only; an address is looked for among the certificate's addresses.
    const bool is_address = ParseIpAddress(host).has_value();
    const int named = is_address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str())
                                 : (SSL_set_tlsext_host_name(ssl, host.c_str()) == 1 &&
                                    SSL_set1_host(ssl, host.c_str()) == 1);
    if (named != 1) {
      SSL_free(ssl);
      return nullptr;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const std::lock_guard lock(mutex_);
    if (const auto at = sessions_.find(authority); at != sessions_.end()) {
      SSL_set_session(ssl, at->second.get());
    }
    return ssl;
  }

  // Tells OpenSSL that the session is ours now.
  static int KeepSession(SSL* ssl, SSL_SESSION* session) {
    auto* self = static_cast<OpenSslClient*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    const auto* authority = static_cast<const std::string*>(SSL_get_app_data(ssl));
    const std::lock_guard lock(self->mutex_);
    if (self->sessions_.size() >= limits::kTlsSessionsMax &&
        !self->sessions_.contains(*authority)) {
      self->sessions_.erase(self->sessions_.begin());
    }
    self->sessions_.insert_or_assign(*authority, Session(session));
    return 1;
  }

  SSL_CTX* const context_;
  std::mutex mutex_;  // handshakes only
  std::unordered_map<std::string, Session> sessions_;
};

}  // namespace

Result<std::shared_ptr<TlsClient>> TlsClient::Create(const std::string& ca_file) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  if (context == nullptr) {
    return Fail(ErrorCode::kInternal, "cannot set up TLS: " + LastError());
  }
  auto client = std::make_shared<OpenSslClient>(context);
  TW_RETURN_IF_ERROR(client->Configure(ca_file));
  return client;
}

TlsStream::TlsStream(std::shared_ptr<TlsClient> client, int fd, const std::string& host,
                     const std::string& authority)
    : client_(std::move(client)), authority_(authority), ssl_(client_->NewSsl(host, authority)) {
  if (ssl_ == nullptr) {
    error_ = "out of memory";
    return;
  }
  BIO* bio = BIO_new(SocketMethod());
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_app_data(ssl_, const_cast<std::string*>(&authority_));
  SSL_set_connect_state(ssl_);
}

TlsStream::~TlsStream() {
  if (ssl_ != nullptr) {
    // Without this a connection that is simply closed would take its session along.
    SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(ssl_);
  }
}

TlsStream::Need TlsStream::Handshake() {
  if (ssl_ == nullptr) {
    return Need::kBroken;
  }
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  const Need need = result == 1 ? Need::kNothing : Judge(result, 0).need;
  if (need == Need::kBroken || need == Need::kEnd) {
    const long verified = SSL_get_verify_result(ssl_);
    error_ = verified == X509_V_OK ? LastError() : X509_verify_cert_error_string(verified);
    return Need::kBroken;
  }
  return need;
}

TlsStream::Outcome TlsStream::Read(char* bytes, size_t size) {
  ERR_clear_error();
  size_t got = 0;
  return Judge(SSL_read_ex(ssl_, bytes, size, &got), got);
}

TlsStream::Outcome TlsStream::Peek(char* bytes, size_t size) {
  ERR_clear_error();
  size_t got = 0;
  return Judge(SSL_peek_ex(ssl_, bytes, size, &got), got);
}

TlsStream::Outcome TlsStream::Write(const char* bytes, size_t size) {
  ERR_clear_error();
  size_t sent = 0;
  return Judge(SSL_write_ex(ssl_, bytes, size, &sent), sent);
}

void TlsStream::SayGoodbye() {
  ERR_clear_error();
  SSL_shutdown(ssl_);
}

TlsStream::Outcome TlsStream::Judge(int result, size_t bytes) {
  if (result == 1) {
    return {Need::kNothing, bytes};
  }
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      return {Need::kRead};
    case SSL_ERROR_WANT_WRITE:
      return {Need::kWrite};
    case SSL_ERROR_ZERO_RETURN:
      return {Need::kEnd};
    default:
      return {Need::kBroken};
  }
}

int64_t TlsStream::written_bytes() const {
  return static_cast<int64_t>(BIO_number_written(SSL_get_wbio(ssl_)));
}

bool TlsStream::session_was_reused() const {
  return ssl_ != nullptr && SSL_session_reused(ssl_) == 1;
}

std::string TlsStream::error() const {
  return error_;
}

}  // namespace tradewind::http
