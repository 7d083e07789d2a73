// The rows of FOCUS that invoices add to what was used, so that BilledCost adds up to what each
// document says is to be paid.
#pragma once

#include <span>
#include <vector>

#include "billing/bill_period.h"
#include "billing/focus.h"
#include "billing/invoice_store.h"
#include "ledger/ledger.h"

namespace tradewind::billing {

// Of the documents of `period`: tax, what rounding to cents changed, and what credit notes take
// off. Of a month that a note settles, what it gives back: the month's own rows have that already.
// And the credits that were bought in `period`, which no invoice asks for: what a note gave back as
// a credit was bought by nobody.
std::vector<FocusCharge> ChargesOf(const BillPeriod& period,
                                   std::span<const IssuedInvoice> documents,
                                   std::span<const ledger::CreditState> credits);

// Of what a credit paid, on its organisation's invoice where there is one. What was paid ahead is
// less to pay, and no less of a cost.
FocusCharge ChargeOf(const CreditUseKey& use, ledger::NanoUsd amount, const BillNames& names);

}  // namespace tradewind::billing
