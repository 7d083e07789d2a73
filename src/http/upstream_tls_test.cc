// Calls over TLS, with an authority of the test's own.
#include <cstdio>
#include <filesystem>
#include <signal.h>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http/upstream_test_support.h"

namespace tradewind::http {
namespace {

using testing::CallOutcome;
using testing::CodeOf;
using testing::RequestTo;
using testing::TestCaller;
using testing::TestUpstream;

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Certificate = std::unique_ptr<X509, Free>;

// For `names` ("DNS:a.example,IP:127.0.0.1"), signed by itself and trusted as such.
Certificate Certify(EVP_PKEY* key, const std::string& names) {
  Certificate made(X509_new());
  X509_set_version(made.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
  X509_set_pubkey(made.get(), key);
  X509_NAME* name = X509_get_subject_name(made.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("a test"), -1, -1, 0);
  X509_set_issuer_name(made.get(), name);
  X509_EXTENSION* extension =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
  X509_add_ext(made.get(), extension, -1);
  X509_EXTENSION_free(extension);
  X509_sign(made.get(), key, EVP_sha256());
  return made;
}

// What the upstream saw of a handshake, and its side of the conversation.
class TlsPeer {
 public:
  TlsPeer(SSL_CTX* context, Fd socket) : socket_(std::move(socket)), ssl_(SSL_new(context)) {
    SSL_set_fd(ssl_.get(), socket_.get());
    shaken_ = SSL_accept(ssl_.get()) == 1;
  }
  bool shaken() const { return shaken_; }
  bool resumed() const { return SSL_session_reused(ssl_.get()) == 1; }
  std::string server_name() const {
    const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
    return name == nullptr ? "" : name;
  }
  std::string ReadUntil(std::string_view text) {
    char byte = 0;
    while (!read_.ends_with(text) && SSL_read(ssl_.get(), &byte, 1) == 1) {
      read_ += byte;
    }
    return std::exchange(read_, "");
  }
  void Send(std::string_view bytes) {
    EXPECT_EQ(SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())),
              static_cast<int>(bytes.size()));
  }
  void SayGoodbye() { SSL_shutdown(ssl_.get()); }
  void Cut() { socket_ = Fd(); }

 private:
  Fd socket_;
  std::unique_ptr<SSL, Free> ssl_;
  bool shaken_ = false;
  std::string read_;
};

class UpstreamTls : public ::testing::Test {
 protected:
  UpstreamTls()
      : key_(EVP_EC_gen("P-256")),
        certificate_(Certify(key_.get(), "DNS:site.example,IP:127.0.0.1")),
        context_(SSL_CTX_new(TLS_server_method())) {
    ::signal(SIGPIPE, SIG_IGN);  // OpenSSL's own sockets, on the upstream's side
    SSL_CTX_use_PrivateKey(context_.get(), key_.get());
    SSL_CTX_use_certificate(context_.get(), certificate_.get());
    SSL_CTX_set_session_id_context(context_.get(), reinterpret_cast<const unsigned char*>("t"), 1);
    std::FILE* file = std::fopen(ca_file_.c_str(), "w");
    PEM_write_X509(file, certificate_.get());
    std::fclose(file);
    options_.ca_file = ca_file_;
    options_.resolve = [](const std::string&) -> Result<Addresses> {
      return Addresses{*ParseIpAddress("127.0.0.1")};
    };
  }
  ~UpstreamTls() override { std::filesystem::remove(ca_file_); }

  UpstreamRequest Request(const std::string& host = "site.example") {
    UpstreamRequest request = RequestTo(upstream_.port());
    request.url.scheme = "https";
    request.url.host = host;
    return request;
  }
  TlsPeer Accept() { return TlsPeer(context_.get(), upstream_.AcceptFd()); }
  CallOutcome CallThatFailsToShakeHands(const UpstreamRequest& request) {
    TestCaller caller(options_);
    auto call = caller.Begin(request);
    EXPECT_FALSE(Accept().ReadUntil("{}").ends_with("{}")) << "the request went out";
    return call.get();
  }

  const Key key_;
  const Certificate certificate_;
  const std::unique_ptr<SSL_CTX, Free> context_;
  const std::string ca_file_ =
      ::testing::TempDir() + "tradewind_tls_test_" + std::to_string(::getpid()) + ".pem";
  UpstreamOptions options_;
  TestUpstream upstream_;
};

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

TEST_F(UpstreamTls, NamesTheHostAndKeepsTheConnection) {
  TestCaller caller(options_);
  auto first = caller.Begin(Request());
  TlsPeer peer = Accept();
  ASSERT_TRUE(peer.shaken());
  EXPECT_EQ(peer.server_name(), "site.example");
  EXPECT_TRUE(peer.ReadUntil("{}").starts_with("POST /v1/chat/completions HTTP/1.1\r\n"));
  peer.Send(kOk);
  EXPECT_EQ(first.get().body, "hello");
  auto second = caller.Begin(Request());
  peer.ReadUntil("{}");
  peer.Send(kOk);
  const CallOutcome got = second.get();
  EXPECT_EQ(got.body, "hello");
  EXPECT_TRUE(got.used_kept_connection);
}

TEST_F(UpstreamTls, SendsAndReadsMuch) {
  TestCaller caller(options_);
  const std::string much(300'000, 'm');
  UpstreamRequest request = Request();
  request.body = much;
  auto call = caller.Begin(request);
  TlsPeer peer = Accept();
  EXPECT_TRUE(peer.ReadUntil("\r\n\r\n").contains("Content-Length: 300000\r\n"));
  std::string sent;
  while (sent.size() < much.size()) {
    sent += peer.ReadUntil("m");
  }
  EXPECT_EQ(sent, much);
  peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + much);
  EXPECT_EQ(call.get().body, much);
}

TEST_F(UpstreamTls, ResumesTheSessionOfAHost) {
  TestCaller caller(options_);
  for (int i = 0; i < 2; ++i) {
    auto call = caller.Begin(Request());
    TlsPeer peer = Accept();
    EXPECT_EQ(peer.resumed(), i == 1);
    peer.ReadUntil("{}");
    peer.Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    EXPECT_EQ(call.get().body, "hello");
  }
}

TEST_F(UpstreamTls, ChecksWhoAnswers) {
  CallOutcome got = CallThatFailsToShakeHands(Request("other.example"));
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kUnavailable);
  EXPECT_EQ(got.reached, Reached::kNotSent);
  EXPECT_TRUE(got.answered.error().message.contains("mismatch")) << got.answered.error().message;
  options_.ca_file.clear();
  got = CallThatFailsToShakeHands(Request());
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kUnavailable);
  EXPECT_TRUE(got.answered.error().message.contains("self")) << got.answered.error().message;
}

TEST_F(UpstreamTls, FindsAnAddressInTheCertificate) {
  TestCaller caller(options_);
  auto call = caller.Begin(Request("127.0.0.1"));
  TlsPeer peer = Accept();
  EXPECT_EQ(peer.server_name(), "");
  peer.ReadUntil("{}");
  peer.Send(kOk);
  EXPECT_EQ(call.get().body, "hello");
}

TEST_F(UpstreamTls, TellsAnEndFromACut) {
  for (const bool says_goodbye : {true, false}) {
    TestCaller caller(options_);
    auto call = caller.Begin(Request());
    TlsPeer peer = Accept();
    peer.ReadUntil("{}");
    peer.Send("HTTP/1.1 200 OK\r\n\r\nhello");
    if (says_goodbye) {
      peer.SayGoodbye();
    }
    peer.Cut();
    const CallOutcome got = call.get();
    if (says_goodbye) {
      EXPECT_EQ(got.body, "hello");
    } else {
      EXPECT_EQ(CodeOf(got.body), ErrorCode::kUnavailable);
    }
  }
}

TEST_F(UpstreamTls, GivesUpOnAnUpstreamThatDoesNotShakeHands) {
  TestCaller caller(options_);
  UpstreamRequest request = Request();
  request.deadlines.connect_ms = 50;
  auto call = caller.Begin(request);
  const Fd silent = upstream_.AcceptFd();
  const CallOutcome got = call.get();
  EXPECT_EQ(CodeOf(got.answered), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(got.reached, Reached::kNotSent);
}

TEST_F(UpstreamTls, SaysThatACaFileCannotBeRead) {
  options_.ca_file = "/nowhere.pem";
  TestCaller caller(options_);
  EXPECT_EQ(CodeOf(caller.Call(Request()).answered), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace tradewind::http
