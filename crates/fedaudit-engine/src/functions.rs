//! SQL functions of our own: addresses compare as addresses, not as text.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;
use fedaudit_core::address::{Cidr, ip_key, parse_ip};

/// Adds the functions that questions may use besides DataFusion's own: JSON and addresses.
pub fn register(context: &mut SessionContext) -> Result<()> {
    datafusion_functions_json::register_all(context)?;
    context.register_udf(ip_in());
    context.register_udf(ip_key_function());
    Ok(())
}

/// `ip_in(ip, cidr)`: whether the address lies in the range; NULL where there is no address.
fn ip_in() -> ScalarUDF {
    ScalarUDF::from(IpIn { signature: Signature::string(2, Volatility::Immutable) })
}

/// `ip_key(ip)`: sixteen bytes in address order; NULL where there is no address.
fn ip_key_function() -> ScalarUDF {
    ScalarUDF::from(IpKey { signature: Signature::string(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IpIn {
    signature: Signature,
}

impl ScalarUDFImpl for IpIn {
    fn name(&self) -> &'static str {
        "ip_in"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    /// A constant range is looked at before any source is asked: a mistake in it must not wait for the first row.
    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if let Some(Some(range)) = arguments.scalar_arguments.get(1)
            && let Some(range) = text(range)
        {
            parse_range(range)?;
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Boolean, true)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ips, ranges] = arguments.args.as_slice() else { return exec_err!("ip_in takes an address and a range") };
        let ips = texts(ips, arguments.number_rows)?;
        let contains = |ip: Option<&str>, range: &Cidr| Some(range.contains(parse_ip(ip?)?));
        let inside: BooleanArray = match ranges {
            ColumnarValue::Scalar(range) => match text(range) {
                None => BooleanArray::new_null(ips.len()),
                Some(range) => {
                    let range = parse_range(range)?;
                    ips.as_string::<i32>().iter().map(|ip| contains(ip, &range)).collect()
                }
            },
            ColumnarValue::Array(_) => {
                let ranges = texts(ranges, arguments.number_rows)?;
                ips.as_string::<i32>()
                    .iter()
                    .zip(ranges.as_string::<i32>().iter())
                    .map(|(ip, range)| range.map_or(Ok(None), |range| Ok(contains(ip, &parse_range(range)?))))
                    .collect::<Result<_>>()?
            }
        };
        Ok(ColumnarValue::Array(Arc::new(inside)))
    }
}

fn parse_range(range: &str) -> Result<Cidr> {
    let Some(range) = Cidr::parse(range) else {
        return plan_err!("ip_in: '{range}' is no range of addresses; write 10.0.0.0/8 or 2001:db8::/32");
    };
    Ok(range)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IpKey {
    signature: Signature,
}

impl ScalarUDFImpl for IpKey {
    fn name(&self) -> &'static str {
        "ip_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ips] = arguments.args.as_slice() else { return exec_err!("ip_key takes an address") };
        let ips = texts(ips, arguments.number_rows)?;
        let keys: BinaryArray = ips.as_string::<i32>().iter().map(|ip| ip.and_then(parse_ip).map(ip_key)).collect();
        Ok(ColumnarValue::Array(Arc::new(keys)))
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => text.as_deref(),
        _ => None,
    }
}

/// Any kind of text column as plain text.
fn texts(value: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    Ok(datafusion::arrow::compute::cast(&value.to_array(rows)?, &DataType::Utf8)?)
}
