#include "billing/invoice.h"

#include <string>

#include <gtest/gtest.h>

#include "billing/hash.h"
#include "billing/invoice_html.h"
#include "billing/invoice_store.h"
#include "testing/temp_dir.h"

namespace tradewind::billing {
namespace {

constexpr ledger::NanoUsd kCent = 10'000'000;

InvoiceDraft Draft(ledger::NanoUsd charge, const char* period = "2026-10") {
  InvoiceDraft draft;
  draft.issuer = {"Tradewind Ltd", "1 Harbour Road\nLondon", "GB 123"};
  draft.customer = {"Acme <Inc>", "", ""};
  draft.org_id = "org_1";
  draft.period = ParseBillPeriod(period).value();
  draft.issued_s = 1'793'530'800;
  MeterKey key;
  key.org_id = "org_1";
  key.project_id = "prj_1";
  key.key_id = "key_1";
  key.model = "org/model";
  key.provider = "site-a";
  key.kind = MeterKind::kOutput;
  draft.statement =
      MakeStatement({draft.period, "org_1", ""}, {{key, {1'000'000, charge, charge}}}, {});
  draft.names.keys["key_1"] = "<script>alert(1)</script>";
  draft.names.projects_of_keys["key_1"] = "=cmd|' /C calc'!A0";
  return draft;
}

InvoiceDraft Note(const std::string& invoice, ledger::NanoUsd credit, const char* reference) {
  InvoiceDraft note = Draft(0);
  note.kind = "credit_note";
  note.statement = {};
  note.refers_to = invoice;
  note.reason = "a price was wrong";
  note.reference = reference;
  note.credit = credit;
  return note;
}

InvoiceSums Sums(ledger::NanoUsd charge, ledger::NanoUsd carry = 0, const char* tax = "0") {
  InvoiceDraft draft = Draft(charge);
  draft.carry_in = carry;
  draft.tax_percent = Decimal::Parse(tax).value();
  return SumsOf(draft).value();
}

TEST(Invoice, RoundsHalfToEvenAndCarriesTheRest) {
  EXPECT_EQ(Sums(kCent / 2).net_cents, 0);
  EXPECT_EQ(Sums(kCent / 2).carry_out, kCent / 2);
  EXPECT_EQ(Sums(kCent / 2 + 1).net_cents, 1);
  EXPECT_EQ(Sums(kCent / 2 + 1).carry_out, 1 - kCent / 2);
  EXPECT_EQ(Sums(kCent + kCent / 2).net_cents, 2);
  EXPECT_EQ(Sums(2 * kCent + kCent / 2).net_cents, 2);
  EXPECT_EQ(Sums(kCent / 2, kCent / 2).net_cents, 1) << "what was left the last time";
  EXPECT_EQ(Sums(0, -kCent / 2).net_cents, 0);
  EXPECT_EQ(Sums(1000 * kCent, 0, "19").tax_cents, 190);
  EXPECT_EQ(Sums(250 * kCent, 0, "8.6").tax_cents, 22) << "21.5 goes to the even 22";
  EXPECT_EQ(Sums(1000 * kCent, 0, "19").payable_cents(), 1190);
  InvoiceDraft draft = Draft(1);
  for (const char* wrong : {"-1", "100.01", "1.00001"}) {
    draft.tax_percent = Decimal::Parse(wrong).value();
    EXPECT_EQ(SumsOf(draft).error().param, "tax_percent") << wrong;
  }
  EXPECT_EQ(FormatCents(123'456'789), "1,234,567.89");
  EXPECT_EQ(FormatCents(-5), "-0.05");
}

TEST(Invoice, IsTheSameBytesEveryTimeAndEscapesWhatUsersWrote) {
  const InvoiceDraft draft = Draft(12 * kCent);
  const InvoiceSums sums = SumsOf(draft).value();
  const InvoiceDocuments one = WriteInvoice(draft, sums), two = WriteInvoice(draft, sums);
  EXPECT_EQ(one.json, two.json);
  EXPECT_EQ(one.html, two.html);
  EXPECT_EQ(one.hash, Sha256Hex(one.json));
  EXPECT_EQ(one.html.find("<script"), std::string::npos);
  EXPECT_EQ(one.html.find("src="), std::string::npos) << "nothing is loaded";
  EXPECT_EQ(one.html.find("url("), std::string::npos);
  EXPECT_NE(one.html.find("Acme &lt;Inc&gt;"), std::string::npos);
  EXPECT_NE(one.html.find(one.hash), std::string::npos);
  EXPECT_NE(one.csv.find("\"'=cmd|"), std::string::npos) << "no formula for a spreadsheet";
  EXPECT_EQ(EscapeHtml("a\x01'\"&"), "a &#39;&quot;&amp;");
}

TEST(Invoice, ShowsWhatCreditsPaidAndWhatIsLeftToPay) {
  InvoiceDraft draft = Draft(12 * kCent + 5);
  CreditUses credits;
  credits[{1, "org_1", "prj_1", "key_1", "crd_1", "a <gift>"}] = 2 * kCent;
  credits[{2, "org_1", "prj_1", "key_2", "crd_1", "a <gift>"}] = 3 * kCent;
  MeterKey key;
  key.org_id = "org_1";
  key.kind = MeterKind::kOutput;
  draft.statement = MakeStatement({draft.period, "org_1", ""},
                                  {{key, {1000, 12 * kCent + 5, 12 * kCent + 5}}}, {}, credits);
  const InvoiceSums sums = SumsOf(draft).value();
  EXPECT_EQ(sums.net, 7 * kCent + 5);
  EXPECT_EQ(sums.net_cents, 7);
  EXPECT_EQ(sums.carry_out, 5);
  const InvoiceDocuments documents = WriteInvoice(draft, sums);
  EXPECT_NE(documents.json.find("\"charge_nanousd\":\"120000005\",\"credit_nanousd\":\"50000000\","
                                "\"net_nanousd\":\"70000005\""),
            std::string::npos)
      << documents.json;
  EXPECT_NE(documents.json.find("\"credit\":\"crd_1\",\"note\":\"a <gift>\","
                                "\"amount_nanousd\":\"50000000\""),
            std::string::npos)
      << documents.json;
  EXPECT_NE(documents.html.find("Credit crd_1: a &lt;gift&gt;"), std::string::npos);
  EXPECT_NE(documents.html.find("-$0.05"), std::string::npos);
  EXPECT_NE(documents.html.find("Left to pay, exact"), std::string::npos);
  EXPECT_NE(documents.csv.find("\"crd_1: a <gift>\",,credit,,,,,-50000000"), std::string::npos)
      << documents.csv;
}

TEST(InvoiceStore, NumbersWithoutGapsAndNeverChangesWhatWasIssued) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  EXPECT_EQ(store->Preview(Draft(kCent))->number, "DRAFT");
  const auto first = store->Issue(Draft(kCent + kCent / 2 - 1));
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ(first->number, "TW-000001");
  EXPECT_EQ(first->payable_cents, 1);
  const auto again = store->Issue(Draft(5 * kCent));
  EXPECT_EQ(again.error().param, "period");
  const auto second = store->Issue(Draft(kCent, "2026-11"));
  ASSERT_TRUE(second.has_value()) << second.error().message;
  EXPECT_EQ(second->number, "TW-000002") << "a refusal takes no number";
  EXPECT_EQ(second->payable_cents, 1);
  EXPECT_EQ(second->carry_out, kCent / 2 - 1);
  EXPECT_EQ(store->List("org_1")->size(), 2U);
  EXPECT_TRUE(store->List("org_2")->empty());
  EXPECT_EQ(store->Find("TW-000001")->documents.html, first->documents.html);
  EXPECT_EQ(store->Find("TW-000009").error().code, ErrorCode::kNotFound);
  store->Release();
  auto database = storage::Database::Open(home.path() / "invoices.db").value();
  EXPECT_FALSE(database.Execute("UPDATE invoices SET payable_cents = 0").has_value());
  EXPECT_FALSE(database.Execute("DELETE FROM invoices").has_value());
  ASSERT_TRUE(
      database.Execute("DROP TRIGGER frozen_update; UPDATE invoices SET json = '{}'").has_value());
  database.Release();
  ASSERT_TRUE(store->Reopen().has_value());
  EXPECT_EQ(store->Find("TW-000001").error().code, ErrorCode::kCorruptFile);
}

TEST(InvoiceStore, CreditsNoMoreThanWasInvoiced) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  const auto invoice = store->Issue(Draft(10 * kCent));
  ASSERT_TRUE(invoice.has_value());
  InvoiceDraft note = Note(invoice->number, 7 * kCent, "1");
  note.reason = "An outage <b>";
  const auto first = store->Issue(note);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_EQ(first->number, "TW-000002") << "one sequence for both";
  EXPECT_EQ(first->payable_cents, -7);
  EXPECT_NE(first->documents.html.find("An outage &lt;b&gt;"), std::string::npos);
  EXPECT_EQ(store->LeftOf(*invoice).value(), 3 * kCent);
  EXPECT_EQ(store->Issue(Note(invoice->number, 7 * kCent, "2")).error().param, "usd");
  EXPECT_TRUE(store->Issue(Note(invoice->number, 3 * kCent, "2")).has_value());
}

TEST(InvoiceStore, IssuesANoteOnceUnderItsReferenceHoweverOftenItIsAskedFor) {
  const testing::TempDir home;
  const auto path = home.path() / "invoices.db";
  auto store = InvoiceStore::Open(path).value();
  const std::string october = store->Issue(Draft(10 * kCent))->number;
  const std::string november = store->Issue(Draft(10 * kCent, "2026-11"))->number;
  const InvoiceDraft note = Note(october, 7 * kCent, "case 7");
  const auto first = store->Issue(note);
  ASSERT_TRUE(first.has_value()) << first.error().message;
  EXPECT_NE(first->documents.json.find("\"reference\":\"case 7\""), std::string::npos);
  store.reset();
  store = InvoiceStore::Open(path).value();
  InvoiceDraft later = note;
  later.issued_s += 60;
  for (int i = 0; i < 2; ++i) {
    const auto again = store->Issue(later);
    ASSERT_TRUE(again.has_value()) << "of what is left: " << again.error().message;
    EXPECT_EQ(again->number, first->number);
    EXPECT_EQ(again->documents.json, first->documents.json);
    EXPECT_EQ(again->reference, "case 7");
    EXPECT_EQ(again->payable_cents, -7);
  }
  InvoiceDraft other = Note(october, 7 * kCent, "case 7");
  other.reason = "another";
  EXPECT_EQ(store->Issue(other).error().param, "reference");
  EXPECT_EQ(store->Issue(Note(october, kCent, "case 7")).error().param, "reference");
  EXPECT_EQ(store->Issue(Note(november, 7 * kCent, "case 7")).error().param, "reference");
  EXPECT_EQ(store->Issue(Note(october, kCent, "")).error().param, "reference");
  EXPECT_EQ(store->Issue(Note(october, kCent, std::string(201, 'x').c_str())).error().param,
            "reference");
  EXPECT_EQ(store->Issue(Note(october, kCent, "case 8"))->number, "TW-000004") << "and no gap";
  InvoiceDraft neighbours = Draft(10 * kCent);
  neighbours.org_id = "org_2";
  InvoiceDraft theirs = Note(store->Issue(neighbours)->number, kCent, "case 7");
  theirs.org_id = "org_2";
  EXPECT_EQ(store->Issue(theirs)->number, "TW-000006") << "references are an organisation's own";
  EXPECT_EQ(store->List()->size(), 6U);
}

TEST(InvoiceStore, ARepeatedNoteSaysAgainWhatItGivesBackAsACredit) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  InvoiceDraft draft = Draft(0);
  MeterKey key;
  key.org_id = "org_1";
  key.kind = MeterKind::kOutput;
  draft.statement =
      MakeStatement({draft.period, "org_1", ""}, {{key, {1000, 10 * kCent, 10 * kCent}}}, {},
                    {{{1, "org_1", "prj_1", "key_1", "crd_1", "paid ahead"}, 6 * kCent}});
  const InvoiceDraft note = Note(store->Issue(draft)->number, 9 * kCent, "case 7");
  EXPECT_EQ(store->Issue(note)->returned, 5 * kCent);
  const auto again = store->Issue(note);
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(again->returned, 5 * kCent);
  EXPECT_EQ(store->List()->size(), 2U);
}

TEST(InvoiceStore, ANoteTakesOffWhatWasToBePaidFirstAndGivesTheRestBackAsACredit) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  InvoiceDraft draft = Draft(10 * kCent);
  CreditUses credits;
  credits[{1, "org_1", "prj_1", "key_1", "crd_1", "paid ahead"}] = 6 * kCent;
  MeterKey key;
  key.org_id = "org_1";
  key.kind = MeterKind::kOutput;
  draft.statement = MakeStatement({draft.period, "org_1", ""},
                                  {{key, {1000, 10 * kCent, 10 * kCent}}}, {}, credits);
  draft.tax_percent = Decimal::Parse("20").value();
  const auto invoice = store->Issue(draft);
  ASSERT_TRUE(invoice.has_value()) << invoice.error().message;
  EXPECT_EQ(store->LeftOf(*invoice).value(), 10 * kCent) << "of the charge, whoever paid it";
  InvoiceDraft note = Note(invoice->number, 3 * kCent, "1");
  const auto first = store->Issue(note);
  EXPECT_EQ(first->net, -3 * kCent);
  EXPECT_EQ(first->returned, 0);
  EXPECT_EQ(first->documents.json.find("returned"), std::string::npos) << "as ever";
  note.reference = "2";
  const auto second = store->Issue(note);
  EXPECT_EQ(second->net, -kCent);
  EXPECT_EQ(second->returned, 2 * kCent);
  EXPECT_NE(second->documents.json.find("\"returned_nanousd\":\"20000000\",\"returned_as\":"
                                        "\"note:TW-000003\",\"net_nanousd\":\"-10000000\""),
            std::string::npos)
      << second->documents.json;
  EXPECT_NE(second->documents.html.find("Credits had paid $0.02 of it"), std::string::npos);
  EXPECT_NE(second->documents.csv.find("\"note:TW-000003\",,credit,,,,,-20000000"),
            std::string::npos)
      << second->documents.csv;
  EXPECT_EQ(store->LeftOf(*invoice).value(), 4 * kCent);
  note.credit = 4 * kCent + 1;
  note.reference = "3";
  EXPECT_EQ(store->Issue(note).error().param, "usd");
  note.credit = 4 * kCent;
  EXPECT_EQ(store->Issue(note)->returned, 4 * kCent);
  const auto listed = store->List("org_1").value();
  EXPECT_EQ(listed[0].returned + listed[1].returned, 0);
  EXPECT_EQ(listed[2].returned + listed[3].returned, 6 * kCent) << "all that credits had paid";
  EXPECT_EQ(listed[3].net, 0);
}

TEST(InvoiceStore, NotesGiveBackTheTaxOfAllThatTheyCreditAndNeverMoreThanTheInvoiceHad) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  InvoiceDraft draft = Draft(102 * kCent);
  draft.tax_percent = Decimal::Parse("19").value();
  const std::string number = store->Issue(draft)->number;
  ASSERT_EQ(store->Find(number)->tax_cents, 19);
  ASSERT_EQ(store->Find(number)->payable_cents, 121);
  int64_t tax = 0;
  for (int i = 1; i <= 34; ++i) {
    InvoiceDraft note = Note(number, 3 * kCent, std::to_string(i).c_str());
    note.tax_percent = draft.tax_percent;
    const auto issued = store->Issue(note);
    ASSERT_TRUE(issued.has_value()) << issued.error().message;
    tax += issued->tax_cents;
    EXPECT_LE(issued->tax_cents, 0);
    EXPECT_EQ(tax, -(3 * i * 19 + 50) / 100) << "rounded once, of " << i << " notes together";
  }
  EXPECT_EQ(tax, -19);
  EXPECT_EQ(store->Find(number)->open_cents(), 0);
}

TEST(InvoiceStore, TheNoteThatTakesOffTheLastOfAnInvoiceGivesBackTheRestOfItsTax) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  ASSERT_TRUE(store->Issue(Draft(kCent / 4, "2026-09")).has_value());
  InvoiceDraft draft = Draft(5 * kCent / 4);  // and a quarter of a cent from the month before
  draft.tax_percent = Decimal::Parse("50").value();
  const auto invoice = store->Issue(draft);
  ASSERT_EQ(invoice->net_cents(), 2) << "1.5 goes to the even 2";
  ASSERT_EQ(invoice->tax_cents, 1);
  InvoiceDraft note = Note(invoice->number, 5 * kCent / 4, "1");
  note.tax_percent = draft.tax_percent;
  EXPECT_EQ(store->Issue(note)->tax_cents, -1) << "of a cent alone it would be none";
}

TEST(InvoiceStore, ANoteGivesBackNoMoreThanOneCreditCanBe) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  const ledger::NanoUsd large = ledger::kAmountMax + kCent;
  InvoiceDraft draft = Draft(0);
  MeterKey key;
  key.org_id = "org_1";
  key.kind = MeterKind::kOutput;
  draft.statement = MakeStatement({draft.period, "org_1", ""}, {{key, {1000, large, large}}}, {},
                                  {{{1, "org_1", "prj_1", "key_1", "crd_1", "paid"}, large}});
  const auto invoice = store->Issue(draft);
  ASSERT_TRUE(invoice.has_value()) << invoice.error().message;
  InvoiceDraft note = Note(invoice->number, large, "1");
  EXPECT_EQ(store->Issue(note).error().param, "usd");
  note.credit = ledger::kAmountMax;
  EXPECT_TRUE(store->Issue(note).has_value());
}

TEST(InvoiceStore, RecordsAPaymentOnceAndNeverMoreThanIsOpen) {
  const testing::TempDir home;
  auto store = InvoiceStore::Open(home.path() / "invoices.db").value();
  InvoiceDraft draft = Draft(1000 * kCent);
  draft.tax_percent = Decimal::Parse("19").value();
  const std::string number = store->Issue(draft)->number;
  EXPECT_EQ(store->List().value()[0].tax_cents, 190);
  EXPECT_EQ(store->List().value()[0].open_cents(), 1190);
  for (int i = 0; i < 2; ++i) {
    const auto paid = store->Pay(number, 500 * kCent, "bank 1", 7);
    ASSERT_TRUE(paid.has_value()) << paid.error().message;
    EXPECT_EQ(paid->open_cents(), 690) << "once under its reference";
  }
  EXPECT_EQ(store->Pay(number, 501 * kCent, "bank 1", 8).error().param, "reference");
  EXPECT_EQ(store->Pay(number, 691 * kCent, "bank 2", 8).error().param, "usd");
  EXPECT_EQ(store->Pay(number, kCent / 2, "bank 2", 8).error().param, "usd");
  EXPECT_EQ(store->Pay(number, kCent, "", 8).error().param, "reference");
  EXPECT_EQ(store->Pay("TW-000009", kCent, "bank 2", 8).error().code, ErrorCode::kNotFound);
  InvoiceDraft note = Note(number, 100 * kCent, "1");
  note.tax_percent = draft.tax_percent;
  const std::string noted = store->Issue(note)->number;
  EXPECT_EQ(store->Pay(noted, kCent, "bank 2", 8).error().param, "number");
  const IssuedInvoice now = store->Find(number).value();
  EXPECT_EQ(now.noted_cents, -119) << "with its tax";
  EXPECT_EQ(now.open_cents(), 571);
  EXPECT_EQ(store->Pay(number, 571 * kCent, "bank 2", 9)->open_cents(), 0);
  EXPECT_EQ(store->Pay(number, kCent, "bank 3", 9).error().param, "usd");
  const std::vector<Payment> payments = {{"bank 1", 500, 7}, {"bank 2", 571, 9}};
  store.reset();
  store = InvoiceStore::Open(home.path() / "invoices.db").value();
  EXPECT_EQ(store->Payments(number).value(), payments);
  store.reset();
  auto database = storage::Database::Open(home.path() / "invoices.db").value();
  EXPECT_FALSE(database.Execute("UPDATE payments SET cents = 1").has_value());
  EXPECT_FALSE(database.Execute("DELETE FROM payments").has_value());
}

// What takes an invoices.db back to the steps of a version from before.
constexpr const char* kWithoutReferences =
    "DROP INDEX one_of_a_reference; ALTER TABLE invoices DROP COLUMN reference; "
    "ALTER TABLE invoices DROP COLUMN accepted; DELETE FROM migrations WHERE number > 2";

TEST(InvoiceStore, OpensWhatWasKeptBeforePaymentsWere) {
  const testing::TempDir home;
  const auto path = home.path() / "invoices.db";
  auto store = InvoiceStore::Open(path).value();
  const std::string number = store->Issue(Draft(3 * kCent))->number;
  store.reset();
  auto database = storage::Database::Open(path).value();
  ASSERT_TRUE(database.Execute(kWithoutReferences).has_value());
  ASSERT_TRUE(database
                  .Execute("DROP TABLE payments; DROP INDEX notes_of; "
                           "DELETE FROM migrations WHERE number = 2")
                  .has_value());
  database.Release();
  store = InvoiceStore::Open(path).value();
  EXPECT_EQ(store->Find(number)->open_cents(), 3);
  EXPECT_EQ(store->Pay(number, 3 * kCent, "cash", 1)->open_cents(), 0);
}

TEST(InvoiceStore, OpensNotesThatWereIssuedBeforeTheyHadReferences) {
  const testing::TempDir home;
  const auto path = home.path() / "invoices.db";
  auto store = InvoiceStore::Open(path).value();
  const std::string number = store->Issue(Draft(10 * kCent))->number;
  for (const char* reference : {"1", "2"}) {
    ASSERT_TRUE(store->Issue(Note(number, kCent, reference)).has_value());
  }
  store.reset();
  auto database = storage::Database::Open(path).value();
  ASSERT_TRUE(database.Execute(kWithoutReferences).has_value());
  database.Release();
  store = InvoiceStore::Open(path).value();
  EXPECT_EQ(store->Find("TW-000002")->reference, "");
  EXPECT_EQ(store->LeftOf(store->Find(number).value()).value(), 8 * kCent);
  EXPECT_EQ(store->Issue(Note(number, kCent, "3"))->number, "TW-000004");
  EXPECT_EQ(store->Issue(Note(number, kCent, "3"))->number, "TW-000004");
}

}  // namespace
}  // namespace tradewind::billing
