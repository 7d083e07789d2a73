#include "catalog/mapping.h"

namespace tradewind::catalog {

std::string_view DataPolicyName(DataPolicy policy) {
  switch (policy) {
    case DataPolicy::kUnknown:
      return "unknown";
    case DataPolicy::kRetention:
      return "retention";
    case DataPolicy::kNoRetention:
      return "no-retention";
  }
  return "unknown";
}

std::optional<DataPolicy> ParseDataPolicy(std::string_view name) {
  for (const DataPolicy policy :
       {DataPolicy::kUnknown, DataPolicy::kRetention, DataPolicy::kNoRetention}) {
    if (DataPolicyName(policy) == name) {
      return policy;
    }
  }
  return std::nullopt;
}

std::string_view MappingStatusName(MappingStatus status) {
  switch (status) {
    case MappingStatus::kStaging:
      return "staging";
    case MappingStatus::kLive:
      return "live";
    case MappingStatus::kError:
      return "error";
  }
  return "error";
}

std::optional<MappingStatus> ParseMappingStatus(std::string_view name) {
  for (const MappingStatus status :
       {MappingStatus::kStaging, MappingStatus::kLive, MappingStatus::kError}) {
    if (MappingStatusName(status) == name) {
      return status;
    }
  }
  return std::nullopt;
}

std::string_view SourceName(Source source) {
  switch (source) {
    case Source::kLocal:
      return "local";
    case Source::kConfig:
      return "config";
    case Source::kImported:
      return "imported";
    case Source::kStarter:
      return "starter";
  }
  return "starter";
}

}  // namespace tradewind::catalog
