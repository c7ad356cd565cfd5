package rule

var Read = read
