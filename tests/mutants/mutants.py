"""Eighty-seven faults that somebody could make in the money core. Each is one expression or statement of a source file, with what it
becomes: `find` stands in `within` once, and `within` in the file once. tests/mutants/README.md says what is done with them.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str  # below src/
    what: str  # the fault, in words
    find: str
    bad: str
    within: str = ""  # where `find` alone would stand more than once
    statement: bool = False


def expression(file, what, find, bad, within=""):
    return Mutant(file, what, find, bad, within)


def statement(file, what, find, bad="", within=""):
    return Mutant(file, what, find, bad, within, True)


BOOK, APPLY, SNAPSHOT = "ledger/book.cc", "ledger/book_apply.cc", "ledger/book_snapshot.cc"
LEASE = "ledger/book_lease.cc"
CREDITS = "ledger/book_credits.cc"
ADJUST = "ledger/book_adjust.cc"
LEDGER, RECOVERY, JOURNAL, RECORD = "ledger/ledger.cc", "ledger/recovery.cc", "ledger/journal.cc", "ledger/record.cc"
WINDOW, COST, TERMS = "ledger/window.cc", "pricing/cost.cc", "pricing/terms.cc"
METER, ENDING, RECORDER = "billing/meter.cc", "billing/ending.cc", "billing/recorder.cc"
METERED, RECONCILE, REMOTE = "billing/metered.cc", "billing/reconcile.cc", "billing/remote_bill.cc"

MUTANTS = [
    # What may happen
    expression(BOOK, "a hold may go one nano-dollar over", "leg.amount > 0 && leg.amount > available", "leg.amount > 0 && leg.amount > available + 1"),
    expression(BOOK, "budgets are not checked", "leg.amount > 0 && leg.amount > available", "false"),
    expression(BOOK, "the last nano-dollar is never given", "leg.amount > 0 && leg.amount > available", "leg.amount > 0 && leg.amount >= available"),
    expression(BOOK, "budgets take the other of cost and charge", "budget.dimension == Dimension::kCost ? cost : charge", "budget.dimension == Dimension::kCost ? charge : cost"),
    expression(BOOK, "an extension is not checked", "budgets_.at(leg.account.number).mode == Mode::kHard", "false"),
    expression(CREDITS, "credits are spent after they expired", "places.upper_bound(last)", "places.lower_bound({is_paid, INT64_MIN, INT32_MIN, 0})", "auto place = places.upper_bound(last);\n    for (;"),
    expression(CREDITS, "credits expire before their time", "places.upper_bound(last)", "places.lower_bound({is_paid, INT64_MAX, INT32_MAX, UINT32_MAX})", "const auto end = places.upper_bound(last);"),
    expression(BOOK, "a charge goes beyond what was held", "std::min(charge, found->second.charge)", "charge"),
    expression(BOOK, "a hold is taken twice", "holds_.contains(request.id)", "false"),
    expression(BOOK, "what is held counts as free", "__int128{limit} + credits - debits - pending", "__int128{limit} + credits - debits"),
    expression(BOOK, "what is in doubt counts as free", "__int128{limit} + credits - debits - pending", "__int128{limit} + credits - debits - pending + in_doubt"),
    expression(CREDITS, "a credit gives more than is asked", "std::min(purse->second, missing)", "purse->second"),
    expression(BOOK, "a closed budget still refuses", "found == budgets_.end() || found->second.closed", "found == budgets_.end()"),
    expression(BOOK, "a scope named twice is held twice", "std::ranges::count(legs.all(), leg.account, &Leg::account) > 0", "false"),
    # What happens
    expression(APPLY, "a hold that ended stays pending", "AddPending(leg, -leg.amount)", "AddPending(leg, 0)"),
    statement(APPLY, "what was in doubt stays so", "account.in_doubt -= leg.amount;"),
    expression(APPLY, "cost and charge are swapped when they are posted", "AmountOf(leg, cost, charge)", "AmountOf(leg, charge, cost)", "AddMoney(account.debits, AmountOf(leg, cost, charge), account.debits)"),
    statement(APPLY, "providers are owed what users are charged", "Move({kExpense, 0}, {hold.payee, 0}, cost);", "Move({kExpense, 0}, {hold.payee, 0}, charge);"),
    statement(APPLY, "what credits paid is invoiced too", "Move({kReceivable, 0}, {kRevenue, 0}, unpaid);", "Move({kReceivable, 0}, {kRevenue, 0}, charge);"),
    statement(APPLY, "each credit pays the whole charge", "unpaid -= share;"),
    expression(APPLY, "a bill beyond its hold is not told", "cost > hold.cost", "false"),
    expression(APPLY, "a share is told only beyond it", "__int128{account.debits} * 100 >= bound", "__int128{account.debits} * 100 > bound"),
    expression(APPLY, "a share is told again and again", "percent > account.warned_percent", "true"),
    statement(APPLY, "a new limit does not count in the running window", "account.limit = record.budget.limit;"),
    expression(APPLY, "time may stand still", "record.time_ns <= time_ns_", "false"),
    expression(APPLY, "records may be missing", "record.seq != seq_ + 1", "false"),
    expression(APPLY, "nobody knows that a request was sent", "hold.state == HoldState::kHeld", "false", "if (hold.state == HoldState::kHeld) {"),
    statement(APPLY, "a void hold stays", "Release(hold, 0, 0);", within="case RecordType::kVoid:\n      Release(hold, 0, 0);"),
    statement(APPLY, "in doubt is forgotten by a snapshot", "open.state = record.state;"),
    statement(APPLY, "what was metered is forgotten by a snapshot", "open.metered_cost = record.metered_cost;"),
    statement(APPLY, "what was spent is forgotten by a snapshot", "account.debits = record.debits;"),
    statement(APPLY, "limits are forgotten by a snapshot", "account.limit = record.cost;"),
    statement(APPLY, "an extension holds nothing", "same->amount = sum;"),
    statement(APPLY, "what expired goes nowhere", "Move({number, 0}, ExpiredTo(number), record.cost);"),
    expression(SNAPSHOT, "windows are dropped while holds are in them", "!in_use.contains(key)", "true"),
    expression(SNAPSHOT, "windows are dropped while they run", "account.window_end_s < time_ns / kNanosPerSecond - kForgetWindowAfterS", "true"),
    statement(SNAPSHOT, "shares are told again after a start", "record.warned_percent = account.warned_percent;"),
    # The journal
    expression(LEDGER, "a clock set back opens windows again", "std::max(book_.time_ns() + 1, ledger_time_.Now(wall_ns, clock_.SinceBoot()))", "wall_ns"),
    expression(LEDGER, "what was not written happened", "!written.has_value()", "false", "if (!written.has_value()) {\n    Stop(fmt::format"),
    expression(LEDGER, "the journal grows without bound", "journal_->segment() - first_segment_ + 1 < options_.segments_max", "true"),
    expression(LEDGER, "money is spent though nothing can be flushed", "unflushed_tries_ < 2", "true"),
    expression(LEDGER, "segments go before a snapshot is safe", "std::min(segment, synced_snapshot_segment_)", "segment"),
    expression(LEDGER, "a running request is resolved by somebody else", "hold != nullptr && hold->state != HoldState::kInDoubt", "false", "Status Ledger::ResolveVoid(HoldId id, std::string reason) {\n  const std::lock_guard lock(mutex_);\n  const OpenHold* hold = book_.Find(id);\n  if (hold != nullptr && hold->state != HoldState::kInDoubt) {"),
    expression(RECOVERY, "a start gives back what a dead process had sent", "state == HoldState::kHeld", "true", "if (state == HoldState::kHeld) {"),
    expression(RECOVERY, "what nobody metered was surely not billed", "hold.metered_cost == 0", "false"),
    expression(RECOVERY, "old money is lost: a fresh start", "segments.size() == 1 && last != 1", "false"),
    expression(JOURNAL, "missing records are not missed", "ahead.previous_ != previous_", "false"),
    statement(JOURNAL, "pages that could not be flushed are trusted", "sync_failed_ = sync_failed_ || file == file_;"),
    expression(RECORD, "a record that is wrong is read", "decoded.checksum != LoadLe<uint32_t>(header + kChecksumAt)", "false"),
    expression(RECORD, "records of another chain fit", "Crc32c(record.first(kChecksumAt), Crc32c(chain))", "Crc32c(record.first(kChecksumAt))"),
    # Days, prices, purchases
    expression(WINDOW, "weeks begin on Sunday", "date::Monday", "date::Sunday"),
    expression(WINDOW, "a midnight shown twice is the second one", "date::choose::earliest", "date::choose::latest"),
    expression(COST, "rounded down", "has_rest ? 1 : 0", "0"),
    expression(TERMS, "cached tokens are charged twice", "counts.input - counts.cached - written", "counts.input - written"),
    expression(COST, "one of several answers is held for", "__builtin_mul_overflow(output_max, bounds.choices, &counts.output)", "__builtin_mul_overflow(output_max, int64_t{1}, &counts.output)"),
    expression(COST, "a dearer service tier is not held for", "service == bounds.service", "true"),
    statement(COST, "tokens written to a cache are not held for", "Raise(dearest.input, of.cache_write);"),
    expression(METER, "no price is no reason to refuse", "!is_priced && is_hard", "false"),
    expression(METER, "who brings his own key is charged", "bought.own_key || offer.charges_nobody ? 0 : request.cost", "request.cost"),
    expression(ENDING, "zero is taken for unknown", "ended.usage.has_value()", "ended.usage.has_value() && ended.usage->output_tokens > 0", "ended.usage.has_value() && (ended.usage->is_whole()"),
    expression(ENDING, "a stream that was cut is settled by what came", "Ending::kDoubtMetered", "Ending::kMetered", "if (ended.delivered_bytes > 0) {\n    return Ending::kDoubtMetered;"),
    expression(RECORDER, "tables are ahead of the journal", "ahead_->seq > synced", "false"),
    # What a power cut takes
    expression(LEASE, "what is leased goes out before it is on the disk", "account.used() > account.lease.durable", "false"),
    expression(LEASE, "what may have been spent before a power cut is free", "std::max<NanoUsd>(0, lost)", "NanoUsd{0}"),
    expression(APPLY, "what a hold of before a power cut did not cost is free", "hold.since_ns < account.cut_at_ns", "false"),
    statement(LEASE, "what is given back may still be used", "lease.durable = std::min(lease.durable, record.cost);"),
    expression(LEASE, "every kill sets aside what was leased", "account.lease.boot_id == boot_id", "false"),
    expression(LEASE, "a stop leaves what was leased", "is_last || account.pending == 0 ? 0 : account.used()", "account.used()"),
    expression(LEDGER, "who is strict waits for the bound alone", "request.is_strict ? book_.seq() : leased_at", "leased_at"),
    # What was settled and is put right
    expression(ADJUST, "what was too much is used once more", "ChangeOf(record, leg.dimension) < 0 ? -leg.amount : leg.amount", "leg.amount"),
    expression(ADJUST, "a budget gets nothing back", "leg.amount > 0 && !record.legs.Push(leg)", "false", "if (leg.amount > 0 && !record.legs.Push(leg)) {\n      return TooMany();\n    }\n  }\n  std::vector<Leg> paid;"),
    statement(ADJUST, "a power cut takes what was given back", "account.lease.up_to = shifted(account.lease.up_to);"),
    # What was delivered, and what providers say of it
    expression(METERED, "what comes before the next record is not counted", "metering == ledger::Metering::kRuns ? kProgressBytes : 0", "0"),
    expression(METERED, "budgets count what is likely of a cut stream", "MostTokens(bytes, choices_)", "TextTokens(bytes)"),
    expression(METERED, "budgets count what is likely of an answer without a usage", "MostTokens(ended.delivered_bytes + ended.unread_bytes, choices_)", "TextTokens(ended.delivered_bytes + ended.unread_bytes)"),
    expression(METERED, "a guess is more than was asked for", "std::min(outcome.output_tokens, output_tokens_max_)", "outcome.output_tokens"),
    expression(METERED, "charged is the most that a cut stream can have cost", "MeteredCharge(ended, said)", "MostCost(MostTokens(ended.delivered_bytes), said)", "within_hold(MeteredCharge(ended, said))"),
    statement(METERED, "what may have been written to a cache counts as fresh", "counts.cache_write = counts.input;"),
    expression(METERED, "thoughts that nobody saw are not counted", "whole || thinks_unseen_", "whole"),
    expression(METERED, "who left is charged for all that came", "ended.unread_bytes > 0", "false", "else if (ended.unread_bytes > 0)"),
    expression(METERED, "an answer that says no service tier is settled at the usual one", "pricing::DearerService(prices, counts, asked)", "size_t{0}"),
    expression(METERED, "the loser of a hedge is charged", "ended.is_waste", "false", "if (ended.is_waste) {\n    charge_max = 0;"),
    statement(METERED, "an estimate goes beyond its hold", "cost = std::min(*cost, hold_.cost());"),
    expression(RECONCILE, "a bill charges what nobody got", "std::min(cost, asked.charge_max)", "cost"),
    expression(RECONCILE, "an id of several requests settles one of them", "asked->second.is_shared", "false"),
    expression(RECONCILE, "the cost of a settled request is another one's too", "has_twin_(question.provider, billed.id, asked->second.hold)", "false"),
    expression(RECONCILE, "what is not known yet is void", "now - asked.first_unknown < give_up_", "false"),
    expression(RECONCILE, "what was not asked is answered", "!ids.contains(billed.id)", "false"),
    expression(REMOTE, "ten times the tolerance", "std::max(remote, local) / 200", "std::max(remote, local) / 20"),
    expression(REMOTE, "other tokens are another price", "are_units_apart ? DifferenceClass::kUnits : DifferenceClass::kPrice", "are_units_apart ? DifferenceClass::kPrice : DifferenceClass::kUnits"),
]
# Numbers are places in this list, from 1.
NEEDED = 87  # of 90 must be caught
