//! Networks of virtual machines: bridges and taps, addresses, security groups, floating addresses and the metadata
//! service, under the APIs of nova-network and of Quantum, which became Neutron.
//!
//! Nothing here will know storage. What touches the kernel (bridges, nftables, DHCP) will be done by an agent on
//! each host; who has which address is decided here and kept in SQL.
//!
//! What is here so far is pure: [`MacAddress`], and [`AddressPool`], which gives out a subnet's addresses.
//! Absent: everything that touches a kernel, the API, the records, IPv6.

mod mac;
mod pool;

pub use mac::{MacAddress, MacError};
pub use pool::{AddressPool, Cidr, CidrError, PoolError};
