#include "cli/cli.h"

int main(int argc, char** argv) { return tradewind::cli::Main(argc, argv); }
