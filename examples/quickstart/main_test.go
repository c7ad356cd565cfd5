package main

func Example() {
	main()
	// Output: [1.00 1.00] [1.00]
}
