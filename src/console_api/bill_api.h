// /tw/v1/bill, /tw/v1/prices, /tw/v1/invoices, /tw/v1/backup: docs/formats/bills.md.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>

#include "base/result.h"
#include "billing/books.h"
#include "billing/focus.h"
#include "billing/statement.h"
#include "http/http.h"
#include "http/query.h"
#include "identity/principal.h"
#include "identity/store.h"

namespace tradewind::console_api {

// Who bills, and the tax on it, where no document and no request says it: [billing] of the config.
struct Issuer {
  billing::InvoiceParty party;
  std::string tax_percent = {};  // as in a request's body; "": nobody says it
};

// Thread-safe; calls wait for the disk. What it refers to must outlive it.
class BillApi {
 public:
  BillApi(billing::Books& books, identity::Store& store, std::filesystem::path home,
          Issuer issuer = {})
      : books_(books), store_(store), home_(std::move(home)), issuer_(std::move(issuer)) {}

  // Whether this is the API of a path.
  static bool Has(std::string_view path);

  // The admin token sees everything; a key with the scope manage its organisation; every other one
  // what it spent itself. Only the admin token issues, records payments, verifies and backs up.
  // Errors: kNotFound, kMethodNotAllowed, kPermissionDenied, kInvalidArgument, those of the stores.
  Result<http::Response> Answer(const http::Request& request, const identity::Principal& caller);

 private:
  Result<http::Response> AnswerBill(const http::Request& request, std::string_view what,
                                    const identity::Principal& caller);
  Result<http::Response> Export(const billing::StatementOrder& order, const http::Query& query);
  Result<http::Response> AnswerPrices(const http::Request& request,
                                      const identity::Principal& caller);
  Result<http::Response> AnswerInvoices(const http::Request& request, std::string_view rest,
                                        const identity::Principal& caller);
  Result<http::Response> Issue(const http::Request& request);
  Result<http::Response> Credit(const http::Request& request, const std::string& number);
  // Of the month that a note settles. Errors: kInvalidArgument (settles; period:
  // as for an invoice of it).
  Status ReadSettled(const std::string& month, billing::InvoiceDraft& note);
  Result<http::Response> AnswerPayments(const http::Request& request, const std::string& number,
                                        const identity::Principal& caller);
  Result<http::Response> ShowInvoice(const http::Request& request, const std::string& number,
                                     const identity::Principal& caller);
  // backup_api.cc
  Result<http::Response> BackUp();
  Status CopyTo(const std::filesystem::path& folder);

  Result<billing::StatementOrder> OrderOf(const http::Request& request,
                                          const identity::Principal& caller);
  Result<std::string> OrgIdOf(const std::string& name);  // a name or an id
  Result<billing::BillNames> NamesOf(const billing::StatementOrder& order);
  Result<std::vector<billing::FocusCharge>> ChargesOf(const billing::StatementOrder& order);
  Status CheckReadyToInvoice(const billing::StatementOrder& order);
  // Fills `accepted` in with why it is issued all the same, where there is something to accept.
  Status CheckBills(const billing::StatementOrder& order, const std::string& accept,
                    billing::InvoiceDraft& draft);
  Status CheckTotal(const billing::IssuedInvoice& draft, const std::string& confirmed);
  Status CheckSees(const identity::Principal& caller, const billing::IssuedInvoice& invoice) const;
  int64_t NowS() const;  // by the ledger's time, as the requests of a month are dated

  std::mutex backing_up_;  // one is made at a time
  billing::Books& books_;
  identity::Store& store_;
  const std::filesystem::path home_;
  const Issuer issuer_;
};

}  // namespace tradewind::console_api
