// A tag as both Go references of bench decode it.
package main

import "encoding/json"

type product struct {
	ProductID  json.RawMessage `json:"product_id"`
	BrandID    string          `json:"brand_id"`
	CategoryID string          `json:"category_id"`
	Price      int32           `json:"price"`
}

type tag struct {
	Time        string  `json:"time"`
	Cookie      string  `json:"cookie"`
	Country     string  `json:"country"`
	Device      string  `json:"device"`
	Action      string  `json:"action"`
	Origin      string  `json:"origin"`
	ProductInfo product `json:"product_info"`
}
