//! The lines that take the place of `secrets:` in a Compose file.

use super::plan::ServicePlan;

/// A file of overrides: `docker compose -f compose.yml -f this.yml`, or lines to put in.
pub(crate) fn lines(services: &[ServicePlan]) -> String {
    let mounts = services.iter().map(|ServicePlan { key, .. }| {
        format!(
            "  {key}:\n    volumes:\n      - type: volume\n        source: secrets-{key}\n        \
             target: /run/secrets\n        read_only: true\n"
        )
    });
    let volumes = services.iter().map(|ServicePlan { key, name, .. }| {
        format!("  secrets-{key}:\n    name: {name}\n    driver: skep\n")
    });
    let (mounts, volumes): (Vec<_>, Vec<_>) = (mounts.collect(), volumes.collect());
    format!("services:\n{}volumes:\n{}", mounts.concat(), volumes.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_volume() {
        let service = ServicePlan {
            key: "web".to_owned(),
            name: "shop.web".parse().expect("a name"),
            grants: Vec::new(),
        };
        let wanted = "\
services:
  web:
    volumes:
      - type: volume
        source: secrets-web
        target: /run/secrets
        read_only: true
volumes:
  secrets-web:
    name: shop.web
    driver: skep
";
        assert_eq!(lines(&[service]), wanted);
    }
}
