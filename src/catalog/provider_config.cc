#include "catalog/provider_config.h"

namespace tradewind::catalog {

std::string_view UsageApiName(UsageApi api) {
  return api == UsageApi::kOpenAi ? "openai" : "anthropic";
}

std::string_view RoutePolicyName(RoutePolicy policy) {
  switch (policy) {
    case RoutePolicy::kPreferred:
      return "preferred";
    case RoutePolicy::kFastest:
      return "fastest";
    case RoutePolicy::kCheapest:
      return "cheapest";
    case RoutePolicy::kPrivate:
      return "private";
  }
  return "preferred";
}

std::string_view FallbackName(Fallback fallback) {
  switch (fallback) {
    case Fallback::kOff:
      return "off";
    case Fallback::kSameModel:
      return "same-model";
    case Fallback::kList:
      return "list";
  }
  return "off";
}

std::string_view DataRuleName(DataRule rule) {
  switch (rule) {
    case DataRule::kAny:
      return "any";
    case DataRule::kNoRetention:
      return "no-retention";
    case DataRule::kLocalOnly:
      return "local-only";
  }
  return "local-only";
}

std::string_view ProbeRuleName(ProbeRule rule) {
  switch (rule) {
    case ProbeRule::kOff:
      return "off";
    case ProbeRule::kFree:
      return "free";
    case ProbeRule::kAll:
      return "all";
  }
  return "off";
}

}  // namespace tradewind::catalog
