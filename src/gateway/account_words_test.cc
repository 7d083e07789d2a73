// What a client is told when a provider refuses a key or wants money.
#include <string>

#include <gtest/gtest.h>

#include "gateway/upstream_failure.h"

namespace tradewind::gateway {
namespace {

using routing::FailureKind;

TEST(AccountWords, NameWhoHasToAct) {
  const auto has = [](FailureKind kind, KeyOwner owner, const char* words) {
    return AccountWords(kind, owner).find(words) != std::string::npos;
  };
  for (const FailureKind kind : {FailureKind::kKeyRejected, FailureKind::kNoFunds}) {
    EXPECT_TRUE(has(kind, KeyOwner::kOperator, "the operator has to renew it"));
    EXPECT_FALSE(has(kind, KeyOwner::kCaller, "operator")) << "he has no part in a caller's own";
    EXPECT_TRUE(has(kind, KeyOwner::kNobody, "none is stored")) << "no key was refused";
    EXPECT_TRUE(has(kind, KeyOwner::kNobody, "tradewind login"));
  }
}

TEST(AccountWords, ARefusalIsTheKeysFaultOnlyWhenItSaysSo) {
  using providers::Refusal, providers::UpstreamFailure;
  UpstreamFailure failure;
  failure.stage = UpstreamFailure::Stage::kStatus;
  failure.status = 403;
  failure.refusal = Refusal::kNotHere;
  EXPECT_EQ(KindOf(failure), FailureKind::kNotCapable);
  failure.refusal = Refusal::kKey;
  EXPECT_EQ(KindOf(failure), FailureKind::kKeyRejected);
  failure.status = 503;
  failure.refusal = Refusal::kByStatus;
  EXPECT_EQ(KindOf(failure), FailureKind::kOverloaded);
}

}  // namespace
}  // namespace tradewind::gateway
