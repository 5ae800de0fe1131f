# Reference values for the univariate models, robust inference and heterogeneity.
# Rscript tests/reference/models.R > tests/reference/models.json
# The inputs are part of the file. Needs metafor, clubSandwich, robumeta.

suppressMessages({
  library(metafor)
  library(clubSandwich)
  library(robumeta)
})

# REML, ML and EB converge to 1e-5 in metafor and PM to 1e-4 unless told otherwise
control <- list(threshold = 1e-14, maxiter = 1e5, tol = 1e-15)

number <- function(x) {
  x <- as.numeric(x)
  out <- ifelse(is.finite(x), formatC(x, digits = 17, format = "g"), "null")
  if (length(out) == 1) out else paste0("[", paste(out, collapse = ", "), "]")
}
vector_ <- function(x) {
  x <- as.numeric(x)
  out <- ifelse(is.finite(x), formatC(x, digits = 17, format = "g"), "null")
  paste0("[", paste(out, collapse = ", "), "]")
}
text <- function(x) paste0("[", paste0("\"", x, "\"", collapse = ", "), "]")
object <- function(...) {
  items <- list(...)
  paste0("{", paste0("\"", names(items), "\": ", unlist(items), collapse = ", "), "}")
}

set.seed(20181)
simulate <- function(k, sizes, tau2, levels) {
  n <- sample(12:240, k, replace = TRUE)
  level <- sample(levels, k, replace = TRUE)
  x <- round(rnorm(k, 2005, 9))
  study <- rep(seq_along(sizes), sizes)
  n <- n[study]
  u <- rnorm(length(sizes), 0, sqrt(tau2))[study]
  # effects differ from study to study; level and x differ within studies too
  y <- round(0.28 + 0.08 * (level[seq_along(study)] == levels[2]) + u + rnorm(length(study), 0, sqrt(1 / (n - 3))), 4)
  data.frame(study = study, y = y, v = 1 / (n - 3), level = level[seq_along(study)], x = x[seq_along(study)])
}
sets <- list(
  independent = simulate(31, rep(1, 31), 0.02, c("client", "observer", "therapist")),
  homogeneous = simulate(18, rep(1, 18), 0, c("client", "observer")),
  dependent = simulate(60, rep(c(1, 2, 3, 5), 5), 0.03, c("client", "observer", "therapist"))
)
# unequal variances within a study, as conversions from other statistics give
sets$dependent$v <- sets$dependent$v * rep(c(1, 1.4, 0.8), length.out = nrow(sets$dependent))

fits <- c()
record <- function(name, set, model, tau2, inference, moderators, values) {
  head <- object(
    name = paste0("\"", name, "\""), set = paste0("\"", set, "\""),
    model = paste0("\"", model, "\""), tau2 = paste0("\"", tau2, "\""),
    inference = paste0("\"", inference, "\""), moderators = paste0("\"", moderators, "\"")
  )
  fits <<- c(fits, paste0(substr(head, 1, nchar(head) - 1), ", ", substring(values, 2)))
}

tests <- c(z = "z", t = "t", knapp_hartung = "knha")
for (set in c("independent", "homogeneous")) {
  dat <- sets[[set]]
  for (moderators in c("", "level", "level + x")) {
    formula <- as.formula(paste("~", if (moderators == "") "1" else moderators))
    dat$level <- factor(dat$level)
    for (tau2 in c("DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")) {
      for (inference in names(tests)) {
        fit <- rma(y, v, mods = formula, data = dat, method = tau2, test = tests[[inference]], control = control)
        profile <- confint(fit)$random
        values <- object(
          terms = text(rownames(fit$b)), b = vector_(fit$b), se = vector_(fit$se),
          statistic = vector_(fit$zval), p = vector_(fit$pval), ci_low = vector_(fit$ci.lb),
          ci_high = vector_(fit$ci.ub), tau2_value = number(fit$tau2),
          tau2_ci = vector_(profile["tau^2", 2:3]), I2 = number(fit$I2), H2 = number(fit$H2),
          I2_ci = vector_(profile["I^2(%)", 2:3]),
          Q = number(fit$QE), Q_p = number(fit$QEp), QM = number(fit$QM), QM_p = number(fit$QMp),
          log_likelihood = number(logLik(fit)),
          pi = if (moderators == "") {
            p <- predict(fit)
            vector_(c(p$pi.lb, p$pi.ub))
          } else "null"
        )
        record(paste(set, tau2, inference, moderators), set, "random_effects", tau2, inference, moderators, values)
      }
    }
    fit <- rma(y, v, mods = formula, data = dat, method = "FE")
    values <- object(
      terms = text(rownames(fit$b)), b = vector_(fit$b), se = vector_(fit$se),
      statistic = vector_(fit$zval), p = vector_(fit$pval), ci_low = vector_(fit$ci.lb),
      ci_high = vector_(fit$ci.ub), Q = number(fit$QE), Q_p = number(fit$QEp),
      QM = number(fit$QM), QM_p = number(fit$QMp), log_likelihood = number(logLik(fit))
    )
    record(paste(set, "common", moderators), set, "common_effect", "", "z", moderators, values)
  }
}

dat <- sets$dependent
dat$level <- factor(dat$level)
for (moderators in c("", "level", "level + x")) {
  formula <- as.formula(paste("~", if (moderators == "") "1" else moderators))
  for (tau2 in c("DL", "REML")) {
    fit <- rma(y, v, mods = formula, data = dat, method = tau2, control = control)
    ct <- coef_test(fit, vcov = "CR2", cluster = dat$study)
    wald <- if (moderators == "") NULL else {
      Wald_test(fit, constraints = constrain_zero(2:fit$p), vcov = "CR2", cluster = dat$study)
    }
    values <- object(
      terms = text(rownames(fit$b)), b = vector_(ct$beta), se = vector_(ct$SE),
      df = vector_(ct$df_Satt), statistic = vector_(ct$tstat), p = vector_(ct$p_Satt),
      tau2_value = number(fit$tau2),
      QM = number(if (is.null(wald)) NA else wald$Fstat),
      QM_df2 = number(if (is.null(wald)) NA else wald$df_denom),
      QM_p = number(if (is.null(wald)) NA else wald$p_val)
    )
    record(paste("dependent CR2", tau2, moderators), "dependent", "random_effects", tau2, "cr2", moderators, values)
  }
}

# robumeta's own example beside the simulated reviews; the codes are renamed to those of the tests
sets$corrdat <- with(corrdat, data.frame(
  study = studyid, y = effectsize, v = var, level = ifelse(binge == 1, "observer", "client"), x = males
))
for (set in c("dependent", "corrdat")) {
  dat <- sets[[set]]
  dat$level <- factor(dat$level)
  for (moderators in c("", "level", "level + x")) {
    for (rho in c(0.2, 0.6, 0.9)) {
      fit <- robu(as.formula(paste("y ~", if (moderators == "") "1" else moderators)),
        data = dat, studynum = study, var.eff.size = v, rho = rho, small = TRUE
      )
      table <- fit$reg_table
      values <- object(
        rho = number(rho), terms = text(as.character(table$labels)), b = vector_(table$b.r),
        se = vector_(table$SE), df = vector_(table$dfs), statistic = vector_(table$t),
        p = vector_(table$prob), ci_low = vector_(table$CI.L), ci_high = vector_(table$CI.U),
        tau2_value = number(fit$mod_info$tau.sq)
      )
      record(paste("robumeta", set, rho, moderators), set, "rve", "", "cr2", moderators, values)
    }
  }
}

as_set <- function(dat) {
  object(
    study = vector_(dat$study), y = vector_(dat$y), v = vector_(dat$v),
    level = text(dat$level), x = vector_(dat$x)
  )
}
lines <- c(
  "{",
  paste0("\"versions\": ", object(
    R = paste0("\"", getRversion(), "\""), metafor = paste0("\"", packageVersion("metafor"), "\""),
    clubSandwich = paste0("\"", packageVersion("clubSandwich"), "\""),
    robumeta = paste0("\"", packageVersion("robumeta"), "\"")
  ), ","),
  "\"sets\": {",
  paste0("\"", names(sets), "\": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"fits\": [",
  paste(fits, collapse = ",\n"),
  "]",
  "}"
)
writeLines(lines)
