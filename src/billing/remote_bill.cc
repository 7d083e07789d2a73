#include "billing/remote_bill.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <map>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/decimal.h"
#include "base/text.h"
#include "billing/bill_period.h"

namespace tradewind::billing {
namespace {

using ledger::NanoUsd;

constexpr int64_t kDayS = 86'400, kHourS = 3'600;
constexpr NanoUsd kNanoPerUsd = 1'000'000'000;
constexpr NanoUsd kMost = 1'000'000 * kNanoPerUsd;

std::optional<int64_t> Digits(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool is_all = error == std::errc() && end == text.data() + text.size();
  return is_all && !text.starts_with('-') ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> ReadDay(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') {
    return std::nullopt;
  }
  const auto year = Digits(text.substr(0, 4)), month = Digits(text.substr(5, 2)),
             day = Digits(text.substr(8, 2));
  constexpr int64_t kYearMax = 2199;  // times are counted in nanoseconds elsewhere
  if (!year || !month || !day || *year > kYearMax) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) {
    return std::nullopt;
  }
  return std::chrono::sys_days(date).time_since_epoch().count() * kDayS;
}

// The fields of one line of CSV; `text` moves behind it. nullopt: a quote that does not end.
std::optional<std::vector<std::string>> TakeRow(std::string_view& text) {
  std::vector<std::string> fields(1);
  bool is_quoted = false;
  size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (is_quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (at + 1 < text.size() && text[at + 1] == '"') {
        fields.back() += text[++at];
      } else {
        is_quoted = false;
      }
    } else if (c == '"' && fields.back().empty()) {
      is_quoted = true;
    } else if (c == ',') {
      fields.emplace_back();
    } else if (c == '\n') {
      break;
    } else if (c != '\r') {
      fields.back() += c;
    }
  }
  text.remove_prefix(std::min(text.size(), at + 1));
  return is_quoted ? std::nullopt : std::optional(std::move(fields));
}

enum Column { kStart, kEnd, kModel, kRequests, kInput, kCached, kOutput, kCostUsd, kCostNano };
constexpr std::array<std::pair<std::string_view, Column>, 10> kColumns = {
    {{"start", kStart},
     {"date", kStart},
     {"end", kEnd},
     {"model", kModel},
     {"requests", kRequests},
     {"input_tokens", kInput},
     {"cached_tokens", kCached},
     {"output_tokens", kOutput},
     {"cost_usd", kCostUsd},
     {"cost_nanousd", kCostNano}}};

std::string LowerName(std::string_view text) {
  std::string name = AsciiLower(text.substr(std::min(text.find_first_not_of(" \t"), text.size())));
  name.resize(name.find_last_not_of(" \t") == std::string::npos ? 0
                                                                : name.find_last_not_of(" \t") + 1);
  return name;
}

void AddTo(std::optional<int64_t>& sum, const std::optional<int64_t>& more) {
  if (more.has_value()) {
    sum = sum.value_or(0) + *more;
  }
}

// One line's field; an empty one says nothing.
Status ReadField(Column column, std::string_view text, BillLine& line) {
  const auto no_number = [] { return Fail(ErrorCode::kInvalidArgument, "is no whole number"); };
  if (text.empty()) {
    return {};
  }
  switch (column) {
    case kModel:
      line.model = text;
      return {};
    case kStart:
    case kEnd: {
      const auto time = ReadBillTime(text);
      if (!time.has_value()) {
        return Fail(ErrorCode::kInvalidArgument, "is no date or time, like 2026-11-26");
      }
      (column == kStart ? line.start_s : line.end_s) = *time;
      if (column == kStart && line.end_s == 0) {
        line.end_s = *time + (text.size() == 10 ? kDayS : kHourS);
      }
      return {};
    }
    case kCostUsd: {
      line.cost = ReadBillUsd(text);
      return line.cost.has_value() ? Status()
                                   : Fail(ErrorCode::kInvalidArgument, "is no amount of USD");
    }
    case kCostNano: {
      const bool is_negative = text.starts_with('-');
      const auto amount = Digits(text.substr(is_negative ? 1 : 0));
      if (!amount.has_value() || *amount > kMost) {
        return no_number();
      }
      line.cost = is_negative ? -*amount : *amount;
      return {};
    }
    default: {
      const auto number = Digits(text);
      if (!number.has_value() || *number > kBillCountMax) {
        return no_number();
      }
      (column == kRequests ? line.requests
       : column == kInput  ? line.input_tokens
       : column == kCached ? line.cached_tokens
                           : line.output_tokens) = *number;
      return {};
    }
  }
}

// Of the same cell. False: that is beyond all bounds.
bool AddLine(const BillLine& line, BillLine& sum) {
  bool is_within = true;
  for (const auto field : {&BillLine::requests, &BillLine::input_tokens, &BillLine::cached_tokens,
                           &BillLine::output_tokens, &BillLine::cost}) {
    AddTo(sum.*field, line.*field);
    is_within &= std::abs((sum.*field).value_or(0)) <= kBillCountMax;
  }
  return is_within;
}

std::string Quoted(std::string_view text) {
  std::string field = "\"";
  for (const char c : text) {
    field.append(c == '"' ? 2 : 1, c);
  }
  return field + "\"";
}

// The least and the most that it can be here.
bool IsUnitsApart(const std::optional<int64_t>& remote, int64_t least, int64_t most) {
  if (!remote.has_value()) {
    return false;
  }
  const int64_t nearest = std::clamp(*remote, least, most);
  return std::abs(*remote - nearest) * 1000 > std::max(*remote, nearest);
}

bool IsCostWithinEstimates(NanoUsd remote, const LocalCell& local) {
  const NanoUsd tolerance = CostTolerance(remote, local.cost) + local.requests;
  return remote <= local.cost + tolerance &&
         remote >= local.cost - local.estimated.cost - tolerance;
}

}  // namespace

std::string_view DifferenceClassName(DifferenceClass difference) {
  constexpr std::array<std::string_view, 8> kNames = {"none",     "rounding",      "estimated",
                                                      "boundary", "missing_local", "missing_remote",
                                                      "units",    "price"};
  return kNames[static_cast<size_t>(difference)];
}

void EdgeUse::Add(int64_t input, int64_t output, NanoUsd of_request, bool is_estimated) {
  ++requests;
  input_tokens += input;
  output_tokens += output;
  cost += of_request;
  const __int128 tokens = __int128{input} + output;
  if (tokens <= 0 || is_estimated) {
    tokenless_cost += of_request;
    return;
  }
  const __int128 rate = __int128{of_request} * 1'000'000 / tokens;
  const auto bounded = static_cast<int64_t>(std::min<__int128>(rate, INT64_MAX / 2));
  least_rate = std::min(least_rate, bounded);
  most_rate = std::max(most_rate, bounded + 1);
}

NanoUsd CostTolerance(NanoUsd remote, NanoUsd local) {
  constexpr NanoUsd kCent = 10'000'000;
  return std::max(kCent, std::max(remote, local) / 200);
}

bool AreUnitsApart(const BillLine& line, const LocalCell& local) {
  const auto is_apart = [&](const std::optional<int64_t>& remote, int64_t recorded,
                            int64_t estimated) {
    const int64_t most = local.estimated.requests > 0 ? kBillCountMax : recorded;
    return IsUnitsApart(remote, recorded - estimated, most);
  };
  return is_apart(line.input_tokens, local.input_tokens, local.estimated.input_tokens) ||
         is_apart(line.output_tokens, local.output_tokens, local.estimated.output_tokens);
}

DifferenceClass Compare(const BillLine& line, const LocalCell& local) {
  constexpr NanoUsd kHalfCent = 5'000'000;
  const NanoUsd remote = line.cost.value_or(local.cost);
  const NanoUsd apart = std::abs(remote - local.cost);
  const bool are_units_apart =
      IsUnitsApart(line.input_tokens, local.input_tokens, local.input_tokens) ||
      IsUnitsApart(line.output_tokens, local.output_tokens, local.output_tokens);
  if (apart == 0 && !are_units_apart) {
    return DifferenceClass::kNone;
  }
  if (apart > 0 && !are_units_apart && apart <= local.requests + kHalfCent) {
    return DifferenceClass::kRounding;
  }
  if (apart <= CostTolerance(remote, local.cost) && !are_units_apart) {
    return DifferenceClass::kNone;
  }
  if (local.estimated.requests > 0 && !AreUnitsApart(line, local) &&
      IsCostWithinEstimates(remote, local)) {
    return DifferenceClass::kEstimated;
  }
  const bool has_remote = remote != 0 || line.input_tokens.value_or(0) > 0 ||
                          line.output_tokens.value_or(0) > 0 || line.requests.value_or(0) > 0;
  if (local.requests == 0 && local.in_doubt == 0) {
    return DifferenceClass::kMissingLocal;
  }
  if (!has_remote) {
    return DifferenceClass::kMissingRemote;
  }
  return are_units_apart ? DifferenceClass::kUnits : DifferenceClass::kPrice;
}

std::optional<int64_t> ReadBillTime(std::string_view text) {
  if (text.size() == 10) {
    return ReadDay(text);
  }
  const bool is_time = text.size() == 20 && (text[10] == 'T' || text[10] == ' ') &&
                       text[13] == ':' && text[16] == ':' && text[19] == 'Z';
  const auto day = is_time ? ReadDay(text.substr(0, 10)) : std::nullopt;
  if (!day.has_value()) {
    return std::nullopt;
  }
  const auto hour = Digits(text.substr(11, 2)), minute = Digits(text.substr(14, 2)),
             second = Digits(text.substr(17, 2));
  if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 59) {
    return std::nullopt;
  }
  return *day + *hour * kHourS + *minute * 60 + *second;
}

std::optional<NanoUsd> ReadBillUsd(std::string_view text) {
  if (text.starts_with('$')) {
    text.remove_prefix(1);
  }
  const Result<Decimal> decimal = Decimal::Parse(text);
  if (!decimal.has_value()) {
    return std::nullopt;
  }
  __int128 nano = decimal->digits();
  int exponent = decimal->exponent() + 9;
  for (; exponent > 0 && nano < kMost && nano > -kMost; --exponent) {
    nano *= 10;
  }
  for (; exponent < 0; ++exponent) {
    nano = nano / 10 + (nano % 10 > 0 ? 1 : 0);  // up
  }
  return exponent == 0 && nano <= kMost && nano >= -kMost
             ? std::optional(static_cast<NanoUsd>(nano))
             : std::nullopt;
}

Result<std::vector<BillLine>> ReadBillCsv(std::string_view text, std::string_view provider,
                                          bool is_invoice) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  const auto wrong = [](size_t number, std::string_view column, std::string_view what) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("line {} of the bill: `{}` {}.", number, column, what), "file");
  };
  const auto head = TakeRow(text);
  std::vector<std::optional<Column>> columns;
  for (const std::string& name : head.value_or(std::vector<std::string>())) {
    const auto* known = std::ranges::find(kColumns, LowerName(name),
                                          [](const auto& column) { return column.first; });
    columns.push_back(known == kColumns.end() ? std::nullopt : std::optional(known->second));
  }
  const auto has = [&](Column column) { return std::ranges::count(columns, column) == 1; };
  if (!has(kStart) || has(kCostUsd) == has(kCostNano)) {
    return Fail(ErrorCode::kInvalidArgument,
                "The bill's first line has to name its columns: `start` or `date`, one of "
                "`cost_usd` and `cost_nanousd`, and any of end, model, requests, input_tokens, "
                "cached_tokens, output_tokens.",
                "file");
  }
  std::map<std::tuple<int64_t, int64_t, std::string>, BillLine> cells;
  for (size_t number = 2; !text.empty(); ++number) {
    const auto row = TakeRow(text);
    if (!row.has_value()) {
      return wrong(number, "\"", "does not end");
    }
    if (row->size() == 1 && row->front().empty()) {
      continue;
    }
    if (row->size() != columns.size()) {  // a comma in an amount makes another one of it
      return wrong(number, head->front(),
                   fmt::format("and what follows are {} cells, and the first line names {}; put "
                               "quotes around what holds a comma",
                               row->size(), columns.size()));
    }
    BillLine line;
    line.provider = provider;
    line.is_invoice = is_invoice;
    for (size_t i = 0; i < columns.size(); ++i) {
      if (!columns[i].has_value()) {
        continue;
      }
      if (const Status read = ReadField(*columns[i], (*row)[i], line); !read.has_value()) {
        return wrong(number, (*head)[i], read.error().message);
      }
    }
    if (line.start_s == 0 || line.end_s <= line.start_s) {
      return wrong(number, "start", "has to be there, and before `end`");
    }
    if (!line.cost.has_value() && !line.input_tokens.has_value() &&
        !line.output_tokens.has_value()) {
      return wrong(number, has(kCostUsd) ? "cost_usd" : "cost_nanousd",
                   "has to be there where no tokens are: the line says nothing; leave it out");
    }
    const auto [cell, is_new] = cells.try_emplace({line.start_s, line.end_s, line.model}, line);
    if (!is_new && !AddLine(line, cell->second)) {
      return wrong(number, "requests", "and the other counts are more than anybody can count");
    }
  }
  std::vector<BillLine> lines;
  for (auto& [key, line] : cells) {
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string WriteBillCsv(std::span<const BillLine> lines) {
  std::string text =
      "start,end,model,requests,input_tokens,cached_tokens,output_tokens,cost_nanousd\n";
  for (const BillLine& line : lines) {
    text += fmt::format("{},{},{}", UtcTime(line.start_s), UtcTime(line.end_s), Quoted(line.model));
    for (const auto field : {&BillLine::requests, &BillLine::input_tokens, &BillLine::cached_tokens,
                             &BillLine::output_tokens, &BillLine::cost}) {
      text += (line.*field).has_value() ? fmt::format(",{}", *(line.*field)) : ",";
    }
    text += "\n";
  }
  return text;
}

}  // namespace tradewind::billing
