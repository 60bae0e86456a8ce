# The shipped flow in jq. Numbers are jq's own (binary floats), so cents may differ at a half; the fields are the same.
# Tables and values of the environment come in as $t. Zone: the environment variable TZ.
def blank: . == null or (type == "string" and (test("[^[:space:]]") | not));
def need($name): if blank then error($name + " has no value") else . end;
def fits($name; $most): need($name) | tostring | if length > $most then error($name + " is too long") else . end;
def trim: sub("^\\s+"; "") | sub("\\s+$"; "");
def alpha($n): if test("^[0-9]+$") then ("0" * ($n - length) // "") + . else . end;
def fixed($n): (if type == "string" then tonumber else . end) as $x | pow(10; $n) as $p
  | ($x * $p | if . < 0 then -((-. + 0.5) | floor) else (. + 0.5 | floor) end) as $whole
  | (if $whole < 0 then "-" else "" end) + (($whole | if . < 0 then -. else . end) | tostring
  | ("0" * ($n + 1 - length) // "") + . | .[:-$n] + "." + .[-$n:]);
def total: map(.amount | need("amount") | tonumber) | add;
. as $o | select(.status == "P" or .status == "A")
| if (.items | length) == 0 then error("Order \(.order_id) has no lines") else . end
| if .total_difference != null and (.total_difference | tonumber) != 0 then error("total differs") else . end
| .shipping_address as $a
| ($t.countries[$a.country | need("country") | ascii_downcase] // error("countries has no row")) as $country
| (if .customer_id == null then $t.env.guest_customer
   else $t.customers[.customer_id] // error("customers has no row") end | alpha(10) | fits("SoldToParty"; 10)) as $sold
| ((.total_amount | tonumber) > 1000) as $big
| (.currency | need("currency") | trim | ascii_upcase | fits("currency"; 5)) as $currency
| {
    SalesOrderType: (if $big and .billing.country != $t.env.home_country then "ZEXB" elif $big then "ZBIG" else "OR" end),
    SalesOrganization: $t.env.sales_org, DistributionChannel: "10", OrganizationDivision: "00", SoldToParty: $sold,
    PurchaseOrderByCustomer: ("XC-" + .order_id | fits("order_id"; 35)),
    CustomerPurchaseOrderDate: (.date | need("date") | strflocaltime("%Y-%m-%d")),
    TransactionCurrency: $currency, PaymentMethod: ($t.payment[.payment_method | need("payment_method")] // "Z")
  }
+ (if .payment_terms | blank then {} else { CustomerPaymentTerms: (.payment_terms | fits("payment_terms"; 4)) } end)
+ { to_Partner: [{ PartnerFunction: "SH", Customer: $sold, to_Address: [
      { OrganizationName1: ("\($a.firstname) \($a.lastname)" | trim | .[:40] | need("name")),
        StreetName: ($a.street | need("street") | .[:60]), CityName: ($a.city | need("city") | .[:40]) }
      + (if $a.zip | blank then {} else { PostalCode: ($a.zip | fits("zip"; 10)) } end)
      + (if $a.state | blank then {} else { Region: $a.state[:3] } end)
      + { Country: $country }
      + (if $o.email | blank then {} else { EmailAddress: ($o.email | fits("email"; 241)) } end)] }] }
+ ([ (if (.shipping.cost | tonumber) > 0 then { ConditionType: "HD00", ConditionRateValue: (.shipping.cost | fixed(2)), ConditionCurrency: $currency } else empty end),
     (if (.discounts | length) > 0 then { ConditionType: "HB00", ConditionRateValue: (.discounts | total | fixed(2)), ConditionCurrency: $currency } else empty end) ]
   | if length > 0 then { to_PricingElement: . } else {} end)
+ (if (.taxes | length) > 0 then { to_Text: [{ Language: "EN", LongTextID: "TX01", LongText: "Shop tax \(.taxes | total | fixed(2)) \(.currency)" }] } else {} end)
+ { to_Item: [.items | to_entries[] | (.key + 1) as $n | .value
      | { SalesOrderItem: ($n * 10 | tostring), Material: (.sku | need("sku") | trim | ascii_upcase | fits("sku"; 40)) }
      + (if .name | blank then {} else { SalesOrderItemText: .name[:40] } end)
      + { RequestedQuantity: (.amount_ordered | need("amount_ordered") | fixed(3)),
          RequestedQuantityUnit: (if .unit | blank then "PC" else $t.units[.unit] // error("units has no row") end),
          ProductionPlant: ($t.plants[$country + "," + (if .sku_group | blank then "none" else .sku_group | ascii_upcase end)] // "1710"),
          to_PricingElement: [{ ConditionType: $t.env.price_condition, ConditionRateValue: (.price | need("price") | fixed(2)), ConditionCurrency: $currency }] }] }
