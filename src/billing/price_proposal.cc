#include "billing/price_proposal.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "pricing/cost.h"

namespace tradewind::billing {
namespace {

using Wide = __int128;
using ledger::NanoUsd;

// Bounds that keep products of three counts and an amount within 128 bits.
constexpr int64_t kTokensMax = 100'000'000'000;
constexpr NanoUsd kCostMax = 1'000'000'000'000'000;

constexpr int kKinds = 3;  // fresh input, cached input, output
struct Row {
  std::array<int64_t, kKinds> tokens = {};
  NanoUsd cost = 0;
  int64_t slack = 0;  // rounding: its cost may be so much off
};

// What is left of the tokens when only the kinds that there are count.
struct System {
  std::vector<Row> rows;
  std::vector<int> kinds;
};

Wide Abs(Wide value) {
  return value < 0 ? -value : value;
}

// Of the rows' tokens, `replaced` by another column where it is one of the kinds.
using Matrix = std::array<std::array<Wide, kKinds>, kKinds>;

Wide Determinant(const Matrix& m, size_t size) {
  if (size == 1) {
    return m[0][0];
  }
  if (size == 2) {
    return m[0][0] * m[1][1] - m[0][1] * m[1][0];
  }
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) -
         m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
         m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

Matrix TokensOf(const System& system, std::span<const Row* const> rows) {
  Matrix matrix = {};
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < system.kinds.size(); ++j) {
      matrix[i][j] = rows[i]->tokens[static_cast<size_t>(system.kinds[j])];
    }
  }
  return matrix;
}

// As many rows as there are kinds, as far apart from each other as there are; empty: they all say
// the same.
std::vector<const Row*> Independent(const System& system) {
  const size_t size = system.kinds.size();
  std::vector<const Row*> chosen;
  const auto share_of_output = [](const Row& row) {
    const Wide all = Wide{row.tokens[0]} + row.tokens[1] + row.tokens[2];
    return std::pair(Wide{row.tokens[2]}, std::max<Wide>(1, all));
  };
  const auto by_share = [&](const Row& a, const Row& b) {
    const auto [out_a, all_a] = share_of_output(a);
    const auto [out_b, all_b] = share_of_output(b);
    return out_a * all_b < out_b * all_a;
  };
  if (size == 1) {
    chosen = {&*std::ranges::max_element(system.rows, {}, [&](const Row& row) {
      return row.tokens[static_cast<size_t>(system.kinds[0])];
    })};
  } else {
    const auto [least, most] = std::ranges::minmax_element(system.rows, by_share);
    chosen = {&*least, &*most};
  }
  if (size == 2 && system.kinds.back() != 2) {  // fresh and cached input, and no output
    const auto by_cached = [](const Row& a, const Row& b) {
      return Wide{a.tokens[1]} * b.tokens[0] < Wide{b.tokens[1]} * a.tokens[0];
    };
    const auto [least, most] = std::ranges::minmax_element(system.rows, by_cached);
    chosen = {&*least, &*most};
  }
  if (size == 3) {
    Wide best = 0;
    const Row* third = nullptr;
    for (const Row& row : system.rows) {
      const std::array<const Row*, 3> three = {chosen[0], chosen[1], &row};
      const Wide apart = Abs(Determinant(TokensOf(system, three), size));
      if (apart > best) {
        best = apart;
        third = &row;
      }
    }
    if (third == nullptr) {
      return {};
    }
    chosen.push_back(third);
  }
  return Determinant(TokensOf(system, chosen), size) == 0 ? std::vector<const Row*>() : chosen;
}

// The one number with the fewest decimal places between low/den and high/den; nullopt: there are
// several with so many places, or none with nine. `low` and `high` are at least 0.
std::optional<Decimal> ShortestBetween(Wide low, Wide high, Wide den) {
  constexpr int kPlacesMax = 9;
  constexpr Wide kDearest = 1'000'000'000;
  if (high / den > kDearest) {
    return std::nullopt;
  }
  Wide low_whole = low / den, low_rest = low % den;
  Wide high_whole = high / den, high_rest = high % den;
  for (int places = 0; places <= kPlacesMax; ++places) {
    const Wide first = low_whole + (low_rest > 0 ? 1 : 0);
    if (first < high_whole) {
      return std::nullopt;
    }
    if (first == high_whole) {
      const Result<Decimal> number =
          Decimal::Parse(fmt::format("{}e-{}", static_cast<int64_t>(first), places));
      return number.has_value() ? std::optional(*number) : std::nullopt;
    }
    low_whole = low_whole * 10 + low_rest * 10 / den;
    low_rest = low_rest * 10 % den;
    high_whole = high_whole * 10 + high_rest * 10 / den;
    high_rest = high_rest * 10 % den;
  }
  return std::nullopt;
}

// A price in billionths of a USD per million tokens: of at most nine places.
Wide BillionthsOf(const Decimal& price) {
  Wide value = price.digits();
  for (int exponent = price.exponent() + 9; exponent > 0; --exponent) {
    value *= 10;
  }
  for (int exponent = price.exponent() + 9; exponent < 0; ++exponent) {
    value /= 10;
  }
  return value;
}

struct Solution {
  std::array<std::optional<Decimal>, kKinds> prices;
  bool is_exact = true;
};

// Whether every row costs what these prices say, as far as rounding allows.
bool Explains(Solution& solution, const System& system) {
  constexpr Wide kScale = 1'000'000;  // a token at one billionth of a USD per million, in nano-USD
  for (const Row& row : system.rows) {
    Wide cost = 0;
    for (size_t kind = 0; kind < kKinds; ++kind) {
      if (solution.prices[kind].has_value()) {
        cost += row.tokens[kind] * BillionthsOf(*solution.prices[kind]);
      }
    }
    const Wide off = Abs(cost - row.cost * kScale);
    if (off > row.slack * kScale) {
      return false;
    }
    solution.is_exact = solution.is_exact && off == 0;
  }
  return true;
}

// By Cramer's rule, with what rounding leaves open on both sides.
std::optional<Solution> Solve(const System& system, std::span<const Row* const> rows) {
  const size_t size = system.kinds.size();
  const Matrix tokens = TokensOf(system, rows);
  const Wide den = Determinant(tokens, size);
  Solution solution;
  for (size_t j = 0; j < size; ++j) {
    Wide amount = 0, open = 0;
    for (size_t i = 0; i < size; ++i) {
      Matrix unit = tokens;  // the cofactor: what one nano-dollar of this row changes
      for (size_t r = 0; r < size; ++r) {
        unit[r][j] = r == i ? 1 : 0;
      }
      const Wide cofactor = Determinant(unit, size);
      amount += cofactor * rows[i]->cost;
      open += Abs(cofactor) * rows[i]->slack;
    }
    amount = den < 0 ? -amount : amount;
    // More than half a percent is no price but a guess.
    if (amount < 0 || open > amount / 200 + (amount == 0 ? 0 : 1)) {
      return std::nullopt;
    }
    // Nano-dollars a token are thousandths of USD a million.
    const auto price =
        ShortestBetween(std::max<Wide>(0, amount - open), amount + open, Abs(den) * 1000);
    if (!price.has_value()) {
      return std::nullopt;
    }
    solution.prices[static_cast<size_t>(system.kinds[j])] = price;
  }
  return Explains(solution, system) ? std::optional(solution) : std::nullopt;
}

// A price of so many digits that nothing else confirms is a coincidence.
bool IsPlain(const Solution& solution) {
  return std::ranges::all_of(solution.prices, [](const std::optional<Decimal>& price) {
    return !price.has_value() || price->digits() < 1'000'000;
  });
}

// The largest power of ten, up to a cent, that divides all costs: what they are rounded to.
NanoUsd GrainOf(const System& system) {
  constexpr NanoUsd kCent = 10'000'000;
  NanoUsd grain = kCent;
  for (const Row& row : system.rows) {
    while (row.cost % grain != 0) {
      grain /= 10;
    }
  }
  return grain;
}

// What of a line's cost was the price of its requests.
NanoUsd FeesOf(const Difference& difference) {
  const auto& known = difference.local.prices;
  if (!known.has_value() || !known->request.has_value()) {
    return 0;
  }
  catalog::Prices fee;
  fee.input = fee.output = Decimal();
  fee.request = known->request;
  pricing::TokenCounts counts;
  counts.requests = difference.line.requests.value_or(difference.local.requests);
  return pricing::CostNanoUsd(fee, counts).value_or(0);
}

// Prices that some of its tokens or requests may have had, and that a line says nothing of.
bool HasMoreThanLinesTell(const catalog::Prices& prices) {
  return prices.image || !prices.tiers.empty() || !prices.service_tiers.empty() ||
         prices.cache_write || prices.cache_write_1h || prices.reasoning || prices.audio_input ||
         prices.audio_output;
}

std::optional<Row> RowFrom(const Difference& difference, std::string& none_because) {
  const BillLine& line = difference.line;
  if (!line.input_tokens.has_value() || !line.output_tokens.has_value() || !line.cost.has_value()) {
    none_because = "its lines do not tell their input and output tokens";
    return std::nullopt;
  }
  if (!line.cached_tokens.has_value() && difference.local.cached_tokens > 0) {
    none_because = "its lines do not tell which input tokens were cached";
    return std::nullopt;
  }
  const int64_t cached = line.cached_tokens.value_or(0);
  Row row;
  row.tokens = {*line.input_tokens - cached, cached, *line.output_tokens};
  row.cost = *line.cost - FeesOf(difference);
  // Each request may be rounded up by itself.
  row.slack = std::max(line.requests.value_or(0), difference.local.requests);
  if (std::ranges::any_of(row.tokens, [](int64_t n) { return n < 0 || n > kTokensMax; }) ||
      row.cost < 0 || row.cost > kCostMax || row.slack < 0 || row.slack > kTokensMax) {
    none_because = "its figures are negative, or too large";
    return std::nullopt;
  }
  return row;
}

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  }
  return out + '"';
}

void AddPrice(std::string_view name, const std::optional<Decimal>& price, std::string& out) {
  if (price.has_value()) {
    out += fmt::format("{}{} = \"{}\"", out.ends_with("{ ") ? "" : ", ", name, price->ToString());
  }
}

// Input, cached input and output first.
void AddTokenPrices(const catalog::TokenPrices& prices, std::string& out) {
  using catalog::TokenPrices;
  AddPrice("input_usd_per_mtok", prices.input, out);
  AddPrice("cached_input_usd_per_mtok", prices.cached_input, out);
  AddPrice("output_usd_per_mtok", prices.output, out);
  for (const auto& [name, price] : catalog::kTokenPriceFields) {
    if (price != &TokenPrices::input && price != &TokenPrices::cached_input &&
        price != &TokenPrices::output) {
      AddPrice(fmt::format("{}_usd_per_mtok", name), prices.*price, out);
    }
  }
}

void AddTiers(const catalog::TieredPrices& prices, std::string& out) {
  if (prices.tiers.empty()) {
    return;
  }
  out += ", tiers = [";
  for (const catalog::PriceTier& tier : prices.tiers) {
    out += fmt::format("{}{{ above = {}", out.ends_with('[') ? "" : ", ", tier.above);
    AddTokenPrices(tier, out);
    out += " }";
  }
  out += ']';
}

std::string ConfigOf(const catalog::Prices& prices, const LocalCell& local) {
  std::string out = fmt::format("{{ id = {}, provider_id = {}", Quoted(local.hf_model),
                                Quoted(local.provider_model));
  AddTokenPrices(prices, out);
  AddPrice("request_usd", prices.request, out);
  AddPrice("image_usd", prices.image, out);
  AddTiers(prices, out);
  if (!prices.service_tiers.empty()) {
    out += ", service_tiers = { ";
    for (const catalog::ServiceTier& service : prices.service_tiers) {
      out += fmt::format("{}{} = {{ ", out.ends_with("{ ") ? "" : ", ", service.name);
      AddTokenPrices(service, out);
      AddTiers(service, out);
      out += " }";
    }
    out += " }";
  }
  return out + " }";
}

// What was recorded here, with what the lines say instead. False: that is no price as a config may
// have it.
bool SetConfig(const LocalCell& local, PriceProposal& proposal) {
  catalog::Prices prices = local.prices.value_or(catalog::Prices());
  for (const auto& [price, field] : {std::pair(&proposal.input, &prices.input),
                                     std::pair(&proposal.cached_input, &prices.cached_input),
                                     std::pair(&proposal.output, &prices.output)}) {
    *field = price->has_value() ? *price : *field;
  }
  proposal.config = ConfigOf(prices, local);
  return prices.CheckTiers().has_value() &&
         std::ranges::all_of(prices.service_tiers, [&](const catalog::ServiceTier& service) {
           return prices.CheckService(service).has_value();
         });
}

// Rounded by request alone, or else the whole line to what its costs look like.
std::optional<Solution> SolveRounded(System& system, std::string& none_because) {
  const std::vector<const Row*> rows = Independent(system);
  if (rows.size() < system.kinds.size() || system.rows.size() < system.kinds.size()) {
    none_because = "its lines do not tell the prices apart: import the bill by day or hour";
    return std::nullopt;
  }
  const bool is_confirmed = system.rows.size() > system.kinds.size();
  std::optional<Solution> solution = Solve(system, rows);
  if (solution.has_value() && (is_confirmed || IsPlain(*solution))) {
    return solution;
  }
  if (const NanoUsd grain = GrainOf(system); grain > 1) {
    for (Row& row : system.rows) {
      row.slack += grain;
    }
    solution = Solve(system, rows);
  }
  if (!solution.has_value() || !(is_confirmed || IsPlain(*solution))) {
    none_because = "its lines agree on no price";
    return std::nullopt;
  }
  return solution;
}

PriceProposal ProposalOf(std::span<const Difference* const> differences) {
  PriceProposal proposal;
  proposal.model = differences.front()->line.model;
  proposal.lines = static_cast<int64_t>(differences.size());
  const LocalCell& local = differences.front()->local;
  System system;
  for (const Difference* difference : differences) {
    if (difference->line.model.empty() || difference->local.has_many_models ||
        difference->local.provider_model != local.provider_model) {
      proposal.none_because = "its lines do not tell the models apart";
      return proposal;
    }
    const std::optional<Row> row = RowFrom(*difference, proposal.none_because);
    if (!row.has_value()) {
      return proposal;
    }
    system.rows.push_back(*row);
  }
  for (int kind = 0; kind < kKinds; ++kind) {
    if (std::ranges::any_of(system.rows, [&](const Row& row) {
          return row.tokens[static_cast<size_t>(kind)] > 0;
        })) {
      system.kinds.push_back(kind);
    }
  }
  if (system.kinds.empty()) {
    proposal.none_because = "its lines have no tokens";
    return proposal;
  }
  const std::optional<Solution> solution = SolveRounded(system, proposal.none_because);
  if (!solution.has_value()) {
    return proposal;
  }
  PriceProposal found = proposal;
  found.input = solution->prices[0];
  found.cached_input = solution->prices[1];
  found.output = solution->prices[2];
  found.is_exact = solution->is_exact;
  found.confirmed_by = static_cast<int64_t>(system.rows.size() - system.kinds.size());
  if (found.confirmed_by == 0 && local.prices.has_value() && HasMoreThanLinesTell(*local.prices)) {
    proposal.none_because =
        "the model has prices of units or tiers that its lines do not tell, and no further line "
        "confirms these: import the bill by day or hour";
    return proposal;
  }
  if (!SetConfig(local, found)) {
    proposal.none_because = "the model has tiers, which do not say what cached input costs in them";
    return proposal;
  }
  return found;
}

}  // namespace

std::vector<PriceProposal> ProposePrices(std::span<const Difference> differences) {
  std::map<std::string, std::vector<const Difference*>> by_model;
  for (const Difference& difference : differences) {
    if (difference.kind == DifferenceClass::kPrice) {
      by_model[difference.line.model].push_back(&difference);
    }
  }
  std::vector<PriceProposal> proposals;
  for (const auto& [model, lines] : by_model) {
    proposals.push_back(ProposalOf(lines));
  }
  return proposals;
}

}  // namespace tradewind::billing
