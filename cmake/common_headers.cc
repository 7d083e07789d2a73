// What TW_PCH compiles: the headers alone (cmake/Tradewind.cmake).
