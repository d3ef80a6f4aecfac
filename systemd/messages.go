package systemd

// messageIDs are the MESSAGE_ID of each message that uplinkd.catalog explains
// (systemd.journal-fields(7)). A number stays what it is: people filter by it.
//
//nolint:lll // a message is one string, for who searches
var messageIDs = map[string]string{
	"uplink state":      "d115c98882cd4541b74047e4b40439c2",
	"connections ended": "087a291398274d5f9eb2a542fbc5c120",
	"connections ended that had slipped between":                                          "9ac9f29bcb5346128e007df34b1c097d",
	"connections over the uplink could not all be ended":                                  "ad5bf83f87bb4bec818186f47633eaaf",
	"fight: what is ours is undone again and again, and from now on put back with pauses": "b8838417049e49fb8b11b27a4019c5d8",
	"the fight is over": "ec3597504090443dad2274beb5cc3198",
	"a foreign route stands where ours belongs, or before it": "e33202749e404960af86582b567c24d8",
	"the foreign route is gone":                               "65fc22e56a23424e87bb9647fe7c1dbd",
	"kernel change refused":                                   "d9b943e0946d48d2a72898a538e2ea3a",
	"put back what was gone from the kernel":                  "8d0b8f6b71ce4ca7af3a91b85126969e",
	"order":                                                   "a21d776dd4e845688079905617b5a59a",
	"configuration in force":                                  "9fc6e71d8474489c8e82c41a7df06da7",
	"configuration not reloaded; nothing has changed":         "0fb68c70daa64752b8f303606fda7333",
	"the configuration goes back unless it is confirmed":      "77460a0c94504dd58de0900f90b75018",
	"configuration gone back":                                 "3b8959876ac447408eebf851083b0cd4",
	"this host cannot probe, and the last verdict stands":     "40fa30f75b044bf39966031b7b0a149c",
	"hook failed":                                             "c3e382db003e4eeeba85b5c3fe180aea",
	"hook ended by its time limit":                            "74905d297998452db194a4dd3e0c4a07",
	"started":                                                 "881201b855ad45d495b3f01ce1a2beca",
	"stopped; the kernel's routes stay as they are":           "4461a8c4ec8c4ffeabd060300267b4b6",
}
