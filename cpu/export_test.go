package cpu

// RaceEnabled says whether the tests run under the race detector.
const RaceEnabled = raceEnabled

// SmallBytes is smallBytes.
var SmallBytes = &smallBytes
