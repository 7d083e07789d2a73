#include "console_api/alerts_api.h"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "alerts/alert.h"
#include "alerts/watch.h"
#include "billing/books.h"
#include "dialects/json_reader.h"
#include "testing/temp_dir.h"

namespace tradewind::console_api {
namespace {

class AlertsApiTest : public ::testing::Test {
 protected:
  AlertsApiTest() {
    clock_.SetWall(std::chrono::system_clock::time_point(std::chrono::seconds(1'790'000'000)));
    auto books = billing::Books::Open(home_.path(), clock_, &watch_);
    EXPECT_TRUE(books) << books.error().message;
    books_ = std::move(*books);
    api_ = std::make_unique<AlertsApi>(books_->ledger(), books_->recorder(), *store_, true);
    operator_.is_admin_token = true;
    tenant_.org_id = "org_acme";
    tenant_.key_name = "boss";
    tenant_.scopes = {identity::Scope::kManage};
  }
  void Raise(alerts::Kind kind, const std::string& org_id) {
    alerts::Alert alert;
    alert.kind = kind;
    alert.dedup = std::to_string(++raised_);
    alert.scope = "org:" + org_id;
    alert.org_id = org_id;
    alert.raised_ns = clock_.UnixSeconds() * 1'000'000'000;
    const Status raised = books_->recorder().Change([&](storage::Database& database) -> Status {
      TW_RETURN_IF_ERROR(alerts::Raise(database, alert));
      return {};
    });
    ASSERT_TRUE(raised.has_value()) << raised.error().message;
  }
  Result<http::Response> Acknowledge(const identity::Principal& caller, int id) {
    http::Request request;
    request.method = "POST";
    request.path = "/tw/v1/alerts/" + std::to_string(id) + "/acknowledge";
    return api_->Answer(request, caller);
  }
  // By id, newest first.
  std::vector<int64_t> Open(const identity::Principal& caller) {
    http::Request request;
    request.method = "GET";
    request.path = "/tw/v1/alerts";
    request.query = "open=true";
    const auto response = api_->Answer(request, caller);
    EXPECT_TRUE(response) << response.error().message;
    std::vector<int64_t> ids;
    for (const auto& one :
         dialects::ParseJsonObject(response->body).value().at("alerts").as_array()) {
      ids.push_back(one.at("id").as_int64());
    }
    return ids;
  }

  testing::TempDir home_;
  FakeClock clock_;
  alerts::Watch watch_{alerts::Policy{}};
  std::unique_ptr<identity::Store> store_ = identity::Store::Open({.home = home_.path()}).value();
  std::unique_ptr<billing::Books> books_;
  std::unique_ptr<AlertsApi> api_;
  identity::Principal operator_, tenant_;
  int raised_ = 0;
};

using Ids = std::vector<int64_t>;

TEST_F(AlertsApiTest, WhatAnOrganisationAcknowledgedIsOpenToTheOperator) {
  Raise(alerts::Kind::kBudget, "org_acme");
  Raise(alerts::Kind::kNewSku, "org_acme");
  const auto done = Acknowledge(tenant_, 1);
  ASSERT_TRUE(done.has_value()) << done.error().message;
  EXPECT_EQ(dialects::ParseJsonObject(done->body)->at("acknowledged_by"), "boss");
  EXPECT_EQ(Open(tenant_), Ids{2});
  EXPECT_EQ(Open(operator_), (Ids{2, 1}));
  const auto seen = Acknowledge(operator_, 1);
  ASSERT_TRUE(seen.has_value()) << seen.error().message;
  const auto alert = dialects::ParseJsonObject(seen->body).value();
  EXPECT_EQ(alert.at("acknowledged_by"), "admin");
  EXPECT_EQ(alert.at("org_acknowledged_by"), "boss");
  EXPECT_EQ(Open(operator_), Ids{2});
  ASSERT_TRUE(Acknowledge(operator_, 2).has_value());
  EXPECT_EQ(Open(tenant_), Ids{}) << "the operator's is for everybody";
}

TEST_F(AlertsApiTest, OnlyTheOperatorEndsAThrottleBeforeItsTime) {
  Raise(alerts::Kind::kVelocity, "org_acme");
  const auto refused = Acknowledge(tenant_, 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kPermissionDenied);
  EXPECT_EQ(refused.error().param, "id");
  EXPECT_NE(refused.error().message.find("of org:org_acme refused until 2026-09-21T15:13:20Z"),
            std::string::npos)
      << refused.error().message;
  EXPECT_NE(refused.error().message.find("tradewind alerts ack 1"), std::string::npos);
  EXPECT_EQ(Open(tenant_), Ids{1});
  clock_.SetWall(clock_.WallNow() + std::chrono::minutes(61));
  EXPECT_FALSE(Acknowledge(tenant_, 1).has_value()) << "a clock that jumps ends none";
  clock_.SetWall(clock_.WallNow() - std::chrono::minutes(61));
  clock_.Advance(std::chrono::minutes(61));
  EXPECT_TRUE(Acknowledge(tenant_, 1).has_value()) << "its hour is over";
  EXPECT_EQ(Open(operator_), Ids{1});
  Raise(alerts::Kind::kVelocity, "org_acme");
  EXPECT_TRUE(Acknowledge(operator_, 2).has_value());
  EXPECT_TRUE(Acknowledge(tenant_, 2).has_value()) << "the operator has ended it";
}

TEST_F(AlertsApiTest, AnAlertOfOthersIsNotThere) {
  Raise(alerts::Kind::kVelocity, "org_other");
  Raise(alerts::Kind::kDisk, "");
  for (const int id : {1, 2, 3}) {
    const auto refused = Acknowledge(tenant_, id);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::kNotFound) << id;
  }
  EXPECT_EQ(Open(operator_), (Ids{2, 1}));
}

}  // namespace
}  // namespace tradewind::console_api
