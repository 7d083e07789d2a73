// What was charged as rows of the FinOps Open Cost and Usage Specification: one for each hour, key,
// model, provider and kind of token, one for what a credit paid in an hour, and those of invoices
// (focus_charges.h). Versions 1.2 to 1.4. Source: focus.finops.org.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "billing/statement.h"

namespace tradewind::billing {

enum class FocusVersion : uint8_t { k12, k13, k14 };
Result<FocusVersion> ParseFocusVersion(std::string_view text);  // kInvalidArgument (param version)

// What people call those whose ids the records have.
struct BillNames {
  std::string issuer = "Tradewind";                         // of what stands on no document
  std::map<std::string, std::string> orgs = {}, keys = {};  // by id
  std::map<std::string, std::string> invoices = {};  // the invoice of the period, by organisation
  std::map<std::string, std::string> issuers = {};   // of documents, by their numbers
  std::set<std::string> presents = {};               // credits that nobody paid for
  const std::string& IssuerOf(const std::string& document) const;

  // What the projects of keys are called, by the key's id: a key is of one project.
  std::map<std::string, std::string> projects_of_keys = {};
  const std::string& ProjectOf(const MeterKey& key) const;

  static const std::string& Of(const std::map<std::string, std::string>& names,
                               const std::string& id);  // the id where there is no name
};

struct FocusOrder {
  FocusVersion version = FocusVersion::k13;
  BillPeriod billing_period;  // the month
  std::string ledger_hash;    // of the statement that the rows add up to
};

// A row that is no use of anything: what a credit paid or was bought for, and what documents have
// beside use.
struct FocusCharge {
  std::string category;           // "Credit", "Purchase", "Adjustment", "Tax"
  std::string charge_class = {};  // "Correction" of what was invoiced; or none
  std::string description, org_id;
  std::string invoice = {}, line = {};  // the document that it stands on; empty: none
  std::string credit = {};              // its id
  int64_t from_s = 0, to_s = 0;
  ledger::NanoUsd billed = 0;
  // Without what was or will be paid ahead: a purchase costs nothing, the use that it pays does.
  ledger::NanoUsd effective = 0;
};

enum class FocusFormat : uint8_t { kCsv, kParquet };
struct FocusRow;

// Rows in the order in which they are added, as bytes that are taken while there are more to come.
// Amounts are exact: without charges, BilledCost adds up to the charges of meters without what
// credits paid, x_ProviderCost to their costs. ListCost is price times quantity before rounding. A
// price of more than 18 places in USD per token is left out. One thread.
class FocusWriter {
 public:
  FocusWriter(FocusFormat format, FocusOrder order, std::vector<PriceVersion> prices,
              BillNames names);
  FocusWriter(const FocusWriter&) = delete;
  FocusWriter& operator=(const FocusWriter&) = delete;
  ~FocusWriter();

  void Add(const Meters& meters);
  void Add(const CreditUses& credits);
  void Add(const std::vector<FocusCharge>& charges);
  void Finish();  // once; the rest is ready then

  size_t ready_bytes() const;
  std::string Take();  // what is ready

 private:
  void Add(const FocusRow& row);

  const FocusOrder order_;
  const std::vector<PriceVersion> prices_;
  const BillNames names_;
  std::map<uint32_t, const catalog::Prices*> by_version_;
  struct Table;
  const std::unique_ptr<Table> table_;
};

// All of a file.
std::string FocusFile(FocusFormat format, const FocusOrder& order, const Meters& meters,
                      const std::vector<PriceVersion>& prices, const BillNames& names,
                      const CreditUses& credits = {}, const std::vector<FocusCharge>& charges = {});

}  // namespace tradewind::billing
