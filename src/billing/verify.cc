#include "billing/verify.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "billing/bill_sums.h"
#include "billing/budget_audit.h"
#include "billing/correction.h"
#include "ledger/journal.h"

namespace tradewind::billing {
namespace {

using ledger::HoldId;
using ledger::RecordType;

constexpr int64_t kPageRows = 10'000;
constexpr size_t kAtOnce = 1'000;  // attempts of the journal that are compared together
constexpr size_t kDifferencesMax = 20;
constexpr int kTries = 3;  // while requests end meanwhile

using Attempts = std::map<HoldId, AttemptRow>;

// What the journal says of attempts that ended, as far as it reaches back.
struct Replay {
  std::unordered_map<HoldId, AttemptRow, ledger::HashOfId> open;
  Attempts settled;                     // and not compared yet
  std::vector<Correction> corrections;  // likewise
  std::map<uint32_t, PriceVersion> prices;
  CreditNames credits;

  void Take(const ledger::Record& record) {
    switch (record.type) {
      case RecordType::kPrice: {
        ledger::PriceSpec spec = record.price;
        spec.since_ns = spec.since_ns == 0 ? record.time_ns : spec.since_ns;
        prices[record.price_version] = VersionOf(record.price_version, spec);
        return;
      }
      case RecordType::kCredit:
        credits[record.account] = {record.credit.name, record.credit.note};
        return;
      case RecordType::kAdjust:
        corrections.push_back(CorrectionOf(record));
        return;
      case RecordType::kHold:
      case RecordType::kSnapshotHold: {
        AttemptRow& row = open[record.hold];
        row.id = record.hold;
        row.purchase = DecodePurchase(record.text);
        row.price_version = record.price_version;
        row.admitted_ns = record.type == RecordType::kHold ? record.time_ns : record.since_ns;
        return;
      }
      case RecordType::kVoid:
        open.erase(record.hold);
        return;
      case RecordType::kSettle: {
        const auto found = open.find(record.hold);
        if (found != open.end()) {
          AttemptRow row = std::move(found->second);
          open.erase(found);
          row.state = AttemptState::kSettled;
          row.cost = record.cost;
          row.charge = record.charge;
          row.outcome = DecodeOutcome(record.text);
          row.credits = CreditSharesOf(record);
          row.ended_ns = record.time_ns;
          // No column keeps these: they say how an attempt ran, and nothing of what it cost.
          row.purchase.open_ended = row.purchase.degraded = row.purchase.askable = false;
          row.outcome.is_beyond = row.outcome.is_other_tier = row.outcome.is_told = false;
          row.outcome.has_unpriced_writes = false;
          row.purchase.billed_apart.clear();
          row.outcome.unposted = 0;
          settled[row.id] = std::move(row);
        }
        return;
      }
      default:
        return;
    }
  }
};

// All that it cost and whom. Whether its provider can be asked is left out: a journal of before
// does not say it, and tables do.
auto Told(const AttemptRow& row) {
  const Purchase& bought = row.purchase;
  return std::tie(bought.org_id, bought.project_id, bought.key_id, bought.user_id, bought.model,
                  bought.provider, bought.provider_model, bought.own_key, bought.priced,
                  row.outcome, row.price_version, row.admitted_ns, row.ended_ns, row.cost,
                  row.charge, row.credits);
}

// What ended after `last_end_ns` is not in the sums that are judged.
bool IsOf(const AttemptRow& row, const StatementOrder& order, int64_t last_end_ns) {
  constexpr int64_t kSecondNs = 1'000'000'000;
  const auto same = [](const std::string& wanted, const std::string& is) {
    return wanted.empty() || wanted == is;
  };
  return row.state == AttemptState::kSettled && row.ended_ns <= last_end_ns &&
         row.ended_ns >= order.period.from_s * kSecondNs &&
         row.ended_ns / kSecondNs < order.period.to_s && same(order.org_id, row.purchase.org_id) &&
         same(order.key_id, row.purchase.key_id);
}

// What providers are owed by the attempts, by the name of the ledger's account.
using Owed = std::map<std::string, __int128>;

std::string PayeeOf(const Purchase& bought) {
  return (bought.own_key ? "callers:" : "provider:") + bought.provider;
}

// The attempts of the order: by their rows, each of which is what the journal says where that
// reaches. In memory is what is open, and sums.
class Recount {
 public:
  Recount(const StatementOrder& order, int64_t last_end_ns, Recorder& recorder,
          Verification& result)
      : order_(order), last_end_ns_(last_end_ns), recorder_(recorder), result_(result) {}

  // Of all attempts, whatever the order asks for.
  const Owed& owed() const { return owed_; }
  const Owed& less() const { return less_; }  // by corrections
  BudgetAudit& budgets() { return budgets_; }

  Status ReadJournal(ledger::Disk& disk) {
    TW_ASSIGN_OR_RETURN(set_aside_until_ns_, recorder_.SetAsideUntil());
    TW_ASSIGN_OR_RETURN(const std::vector<uint64_t> segments,
                        ledger::ListSegments(disk, ledger::Segments::kAll));
    ledger::JournalReader reader(disk, segments.empty() ? 1 : segments.front(),
                                 ledger::Segments::kAll);
    while (true) {
      TW_ASSIGN_OR_RETURN(const std::optional<ledger::Record> record, reader.Next());
      if (record.has_value()) {
        replay_.Take(*record);
        budgets_.Take(*record);
      }
      if (!record.has_value() || replay_.settled.size() == kAtOnce) {
        TW_RETURN_IF_ERROR(Compare(std::exchange(replay_.settled, {})));
      }
      if (!record.has_value() || replay_.corrections.size() == kAtOnce) {
        TW_RETURN_IF_ERROR(CompareCorrections(std::exchange(replay_.corrections, {})));
      }
      if (!record.has_value()) {
        return {};
      }
    }
  }

  Status ReadRows() {
    TW_ASSIGN_OR_RETURN(std::vector<PriceVersion> known, recorder_.Prices());
    for (PriceVersion& version : known) {
      const auto said = replay_.prices.find(version.version);
      if (said != replay_.prices.end() && said->second.hash != version.hash) {
        Differ(fmt::format("version {} of a price is another one in the journal", version.version));
      }
      replay_.prices.try_emplace(version.version, version);
    }
    TW_ASSIGN_OR_RETURN(const CreditNames named, recorder_.Credits());
    for (const auto& [number, name] : named) {
      if (replay_.credits.try_emplace(number, name).first->second != name) {
        Differ(fmt::format("credit {} is another one in the journal", name.name));
      }
    }
    for (HoldId after;;) {
      TW_ASSIGN_OR_RETURN(const std::vector<AttemptRow> rows, recorder_.Page(after, kPageRows));
      for (const AttemptRow& row : rows) {
        Add(row);
      }
      if (rows.empty()) {
        break;
      }
      after = rows.back().id;
    }
    for (Correction last;;) {
      TW_ASSIGN_OR_RETURN(const std::vector<Correction> rows,
                          recorder_.CorrectionPage(last.id, last.number, kPageRows));
      for (const Correction& row : rows) {
        Add(row);
      }
      if (rows.empty()) {
        break;
      }
      last = rows.back();
    }
    TW_RETURN_IF_ERROR(AddSetAside());
    result_.from_rows = std::max<int64_t>(0, result_.from_rows - result_.from_journal);
    std::vector<PriceVersion> prices;
    for (auto& [number, version] : replay_.prices) {
      prices.push_back(std::move(version));
    }
    result_.recomputed_hash = MakeStatement(order_, meters_, prices, credit_uses_).hash;
    return {};
  }

 private:
  bool IsOf(const AttemptRow& row) const { return billing::IsOf(row, order_, last_end_ns_); }

  Status AddSetAside() {
    MeterFilter filter = FilterOf(order_);
    filter.set_aside = true;
    Meters meters;
    TW_RETURN_IF_ERROR(recorder_.AddMeters(filter, meters));
    for (const auto& [key, sum] : meters) {
      meters_[key] += sum;
      result_.set_aside += key.kind == MeterKind::kRequests ? sum.quantity : 0;
    }
    TW_RETURN_IF_ERROR(recorder_.AddCreditUses(filter, credit_uses_));
    Meters all;
    TW_RETURN_IF_ERROR(recorder_.AddMeters({.set_aside = true}, all));
    for (const auto& [key, sum] : all) {
      Purchase bought;
      bought.provider = key.provider;
      bought.own_key = key.own_key;
      owed_[PayeeOf(bought)] += sum.cost;
    }
    return {};
  }

  Status Compare(Attempts said) {
    std::vector<ledger::RequestId> requests;
    requests.reserve(said.size());
    for (const auto& [id, row] : said) {
      if (requests.empty() || requests.back() != id.request) {
        requests.push_back(id.request);
      }
    }
    TW_RETURN_IF_ERROR(recorder_.ForEachOf(requests, [&](const AttemptRow& row) {
      const auto found = said.find(row.id);
      if (found == said.end()) {
        return;
      }
      result_.from_journal += IsOf(found->second) ? 1 : 0;
      if (row.state != AttemptState::kSettled || Told(row) != Told(found->second)) {
        Differ(fmt::format("request {} attempt {} is another one in the journal",
                           row.id.request.ToString(), row.id.attempt));
        if (others_.size() < kDifferencesMax) {
          others_[row.id] = std::move(found->second);
        }
      }
      said.erase(found);
    }));
    for (const auto& [id, row] : said) {
      if (IsOf(row) && row.ended_ns >= set_aside_until_ns_) {
        Differ(fmt::format("request {} attempt {} is in the journal only", id.request.ToString(),
                           id.attempt));
      }
    }
    return {};
  }

  Status CompareCorrections(std::vector<Correction> said) {
    std::set<ledger::RequestId> requests;
    std::map<std::pair<HoldId, uint32_t>, Correction> by_number;
    for (Correction& one : said) {
      requests.insert(one.id.request);
      by_number.try_emplace({one.id, one.number}, std::move(one));
    }
    const std::vector<ledger::RequestId> ids(requests.begin(), requests.end());
    TW_RETURN_IF_ERROR(recorder_.ForEachCorrectionOf(ids, [&](const Correction& row) {
      const auto found = by_number.find({row.id, row.number});
      if (found == by_number.end()) {
        return;
      }
      if (row != found->second) {
        Differ(fmt::format("correction {} of request {} attempt {} is another one in the journal",
                           row.number, row.id.request.ToString(), row.id.attempt));
        if (other_corrections_.size() < kDifferencesMax) {
          other_corrections_[found->first] = found->second;
        }
      }
      by_number.erase(found);
    }));
    for (const auto& [key, one] : by_number) {
      Differ(fmt::format("correction {} of request {} attempt {} is in the journal only",
                         one.number, one.id.request.ToString(), one.id.attempt));
    }
    return {};
  }

  void Add(const Correction& row) {
    const auto other = other_corrections_.find({row.id, row.number});
    const Correction& counted = other == other_corrections_.end() ? row : other->second;
    const ledger::NanoUsd change = counted.cost_change();
    (change < 0 ? less_ : owed_)[PayeeOf(counted.purchase)] += change < 0 ? -change : change;
    AttemptRow as_row;  // that was settled when it was corrected
    as_row.state = AttemptState::kSettled;
    as_row.purchase = counted.purchase;
    as_row.ended_ns = counted.time_ns;
    if (IsOf(as_row)) {
      AddToMeters(counted, meters_);
      AddToCreditUses(counted, replay_.credits, credit_uses_);
    }
  }

  void Add(const AttemptRow& row) {
    const auto other = others_.find(row.id);
    const AttemptRow& counted = other == others_.end() ? row : other->second;
    if (counted.state == AttemptState::kSettled) {
      owed_[PayeeOf(counted.purchase)] += counted.cost;
    }
    if (IsOf(counted)) {
      ++result_.from_rows;
      const auto version = replay_.prices.find(counted.price_version);
      AddToMeters(counted, version == replay_.prices.end() ? nullptr : &version->second.prices,
                  meters_);
      AddToCreditUses(counted, replay_.credits, credit_uses_);
    }
  }
  void Differ(std::string what) {
    if (result_.differences.size() < kDifferencesMax) {
      result_.differences.push_back(std::move(what));
    }
  }

  const StatementOrder& order_;
  const int64_t last_end_ns_;
  Recorder& recorder_;
  Verification& result_;
  Replay replay_;
  Attempts others_;  // as the journal has them, where the row is another one
  Meters meters_;
  CreditUses credit_uses_;
  std::map<std::pair<HoldId, uint32_t>, Correction> other_corrections_;
  Owed owed_, less_;
  BudgetAudit budgets_;
  int64_t set_aside_until_ns_ = INT64_MIN;
};

// What the ledger owes has to be what attempts cost and transfers moved. Requests settle meanwhile:
// it lies between what was owed before they were read and what is owed now. An account that could
// not be made at the time is the unknown one's.
class Payables {
 public:
  explicit Payables(ledger::Ledger& ledger) : ledger_(ledger), before_(Read(ledger)) {}

  Status Check(Owed owed, Owed less, Recorder& recorder, std::vector<std::string>& differences) {
    TW_ASSIGN_OR_RETURN(const std::vector<TransferRow> transfers, recorder.Transfers(""));
    const auto after = Read(ledger_);
    std::map<ledger::AccountNumber, __int128> credits, debits;
    for (const TransferRow& transfer : transfers) {
      credits[transfer.credit] += transfer.amount;
      debits[transfer.debit] += transfer.amount;
    }
    __int128 unknown = 0;
    for (const auto& [number, payee] : after) {
      const __int128 cost = std::exchange(owed[payee.name], 0) + credits[number];
      debits[number] += less[payee.name];
      const auto then = before_.find(number);
      const bool is_new = then == before_.end();
      unknown += std::max<__int128>(0, cost - payee.credits);
      if (cost < (is_new ? 0 : then->second.credits) || debits[number] > payee.debits ||
          debits[number] < (is_new ? 0 : then->second.debits)) {
        differences.push_back(fmt::format(
            "{} is owed {} nano-USD by the ledger, and {} by its attempts and transfers",
            payee.name, payee.credits - payee.debits, Text(cost - debits[number])));
      }
    }
    for (const auto& [name, cost] : owed) {
      unknown += cost;
    }
    if (unknown > ledger_.OwedToUnknown()) {
      differences.push_back(
          fmt::format("attempts cost {} nano-USD that the ledger owes to nobody", Text(unknown)));
    }
    return {};
  }

 private:
  using ByNumber = std::map<ledger::AccountNumber, ledger::PayeeState>;
  static ByNumber Read(ledger::Ledger& ledger) {
    ByNumber payees;
    for (ledger::PayeeState& payee : ledger.Payees()) {
      payees.emplace(payee.number, std::move(payee));
    }
    return payees;
  }
  // All that is not absurd fits.
  static int64_t Text(__int128 amount) {
    return static_cast<int64_t>(std::clamp<__int128>(amount, INT64_MIN, INT64_MAX));
  }

  ledger::Ledger& ledger_;
  const ByNumber before_;
};

}  // namespace

Result<Verification> VerifyStatement(const StatementOrder& order, Recorder& recorder,
                                     ledger::Ledger& ledger, ledger::Disk& disk) {
  const Recorder::Stillness still = recorder.HoldStill();
  for (int i = 1;; ++i) {
    const uint64_t seq = ledger.seq();
    Verification result;
    Payables payables(ledger);
    const std::vector<ledger::BudgetState> budgets = ledger.Budgets();
    TW_ASSIGN_OR_RETURN(const BillSums sums, recorder.SumsOf(FilterOf(order), true));
    Recount recount(order, sums.last_end_ns, recorder, result);
    Status read = recount.ReadJournal(disk);
    // A segment may have gone while it was read.
    const bool is_gone = !read.has_value() && read.error().code == ErrorCode::kNotFound;
    if (!read.has_value() && (!is_gone || i == kTries)) {
      return Fail(std::move(read).error());
    }
    if (read.has_value()) {
      result.statement = MakeStatement(order, sums.meters, sums.prices, sums.credits);
      if (MakeStatement(order, sums.by_hour, sums.prices, sums.credits).hash !=
          result.statement.hash) {
        result.differences.push_back("the sums by hour are not those by day");
      }
      TW_RETURN_IF_ERROR(recount.ReadRows());
      recount.budgets().Check(budgets, ledger.Budgets());
      result.budgets = recount.budgets().checked();
      std::ranges::copy(recount.budgets().differences(), std::back_inserter(result.differences));
      TW_RETURN_IF_ERROR(
          payables.Check(recount.owed(), recount.less(), recorder, result.differences));
      if (result.is_good() || i == kTries || ledger.seq() == seq) {
        return result;
      }
    }
  }
}

}  // namespace tradewind::billing
