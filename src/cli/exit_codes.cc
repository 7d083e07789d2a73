#include "cli/exit_codes.h"

namespace tradewind::cli {

ExitCode ExitCodeFor(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
    case ErrorCode::kMethodNotAllowed:
    case ErrorCode::kUnsupportedMediaType:
    case ErrorCode::kContextTooLong:
    case ErrorCode::kTemplateFailed:
    case ErrorCode::kPayloadTooLarge:
      return ExitCode::kUsage;
    case ErrorCode::kModelNotSupported:
    case ErrorCode::kNotFound:
      return ExitCode::kNotFound;
    case ErrorCode::kUnauthenticated:
    case ErrorCode::kPermissionDenied:
      return ExitCode::kNotAuthorised;
    case ErrorCode::kPaymentRequired:
      return ExitCode::kBudgetExhausted;
    case ErrorCode::kTooManyRequests:
    case ErrorCode::kUpstreamFailed:
      return ExitCode::kUpstreamFailed;
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
      return ExitCode::kOffline;
    case ErrorCode::kResourceExhausted:
      return ExitCode::kNoSpace;
    case ErrorCode::kCorruptFile:
      return ExitCode::kDamaged;
    case ErrorCode::kCancelled:
      return ExitCode::kInterrupted;
    case ErrorCode::kAddressInUse:
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return ExitCode::kInternal;
  }
  return ExitCode::kInternal;
}

Error WithNextStep(Error error, std::string_view next_step) {
  while (error.message.ends_with('.')) {
    error.message.pop_back();
  }
  error.message.append("; ").append(next_step);
  return error;
}

}  // namespace tradewind::cli
